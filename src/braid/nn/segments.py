"""Ragged data laid flat: which places belong to which segment, without a loop over segments.

Shape legend: N values, B segments, R chosen ones, M values of those.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braid.data.batch import Batch


def select(cu: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Places [M] of the values of segments `rows` [R], in the order of `rows`, and their own offsets [R+1].

    *cu* [B+1]: offsets of all segments, any integer type. Segments may be empty.
    """
    starts_R = cu[rows].long()
    lengths_R = cu[rows + 1].long() - starts_R
    chosen_cu = torch.cat([lengths_R.new_zeros(1), lengths_R.cumsum(0)])
    shift_M = torch.repeat_interleave(starts_R - chosen_cu[:-1], lengths_R)
    return torch.arange(len(shift_M), device=cu.device) + shift_M, chosen_cu


def unit_places(batch: Batch, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The units [M] of the batch's `rows` [R] among all of its units, and their offsets [R+1]. A rectangle is always
    asked for all of its rows."""
    if batch.real is not None:
        return torch.arange(batch.words.shape[0], device=rows.device), batch.cu_words
    return select(batch.cu_words, rows)


def over_units(values_RC: Tensor, batch: Batch, cu: Tensor) -> Tensor:
    """Each row's value for each of its units: [R, C] -> [M, C], *cu* as `unit_places` gives it."""
    if batch.real is not None:
        rows = batch.real.shape[0]
        values_RMC = values_RC[:, None].expand(rows, batch.words.shape[0] // rows, values_RC.shape[1])
        return values_RMC.reshape(-1, values_RC.shape[1])
    return torch.repeat_interleave(values_RC, cu.diff(), dim=0)


def pad(values_NC: Tensor, cu: Tensor) -> tuple[Tensor, Tensor]:
    """Segments as rows of a rectangle [B, L, C], and which of its places are real [B, L]; the others repeat a value."""
    lengths_B = cu.diff()
    places_L = torch.arange(int(lengths_B.max()), device=cu.device)
    real_BL = places_L < lengths_B[:, None]
    index_BL = (cu[:-1, None] + places_L).clamp(max=len(values_NC) - 1)
    return values_NC[index_BL], real_BL


def segment_logsumexp(values_N: Tensor, segments_N: Tensor, n: int) -> Tensor:
    """[n]: log of the summed exponentials of each segment's values; *segments_N*: the segment of each value, in any
    order. -inf for a segment without values."""
    highest_n = values_N.detach().new_full((n,), -torch.inf)
    highest_n = highest_n.scatter_reduce(0, segments_N, values_N.detach(), "amax")
    highest_n = torch.where(highest_n.isfinite(), highest_n, 0)
    sums_n = values_N.new_zeros(n).index_add(0, segments_N, (values_N - highest_n[segments_N]).exp())
    return sums_n.log() + highest_n


def segment_min(values_N: Tensor, segments_N: Tensor, n: int) -> Tensor:
    """[n]: the least value of each segment (inf for one without values)."""
    return values_N.new_full((n,), torch.inf).scatter_reduce(0, segments_N, values_N, "amin")
