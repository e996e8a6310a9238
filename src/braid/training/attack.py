"""Small changes of word vectors, one for each row of a batch: their size, and how they are kept small.

A row's change is one long vector, the changes of all its tokens end to end. What is done to it looks at its own row
alone, so that it is the same however a batch is divided.

Shape legend: T tokens, M size of word vectors, B rows.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from braid.data.batch import Batch

Norm = Literal["l2", "inf"]
"""The Euclidean length of a row's change, or its largest element."""


def rows_of(batch: Batch) -> Tensor:
    """The row [T] that each token stands in."""
    lengths_B = batch.cu_seqlens.diff().long()
    return torch.repeat_interleave(torch.arange(len(lengths_B), device=lengths_B.device), lengths_B)


def sizes(change_TM: Tensor, batch: Batch, norm: Norm) -> Tensor:
    """[B]: how large each row's change is."""
    rows_T, zeros_B = rows_of(batch), change_TM.new_zeros(batch.n_rows)
    if norm == "inf":
        return zeros_B.scatter_reduce(0, rows_T, change_TM.abs().amax(dim=1), "amax")
    # The largest element first: squares of very small gradients would be 0.
    highest_B = sizes(change_TM, batch, "inf").clamp(min=torch.finfo(change_TM.dtype).tiny)
    scaled_TM = change_TM / highest_B[rows_T, None]
    return zeros_B.index_add(0, rows_T, scaled_TM.square().sum(dim=1)).sqrt() * highest_B


def directions(change_TM: Tensor, batch: Batch, norm: Norm) -> Tensor:
    """Each row's change scaled to size 1; one that is 0 (or not finite: nothing can be said of it) becomes 0."""
    size_B = sizes(change_TM, batch, norm)
    factor_B = torch.where(size_B.isfinite() & (size_B > 0), 1 / size_B, 0.0)
    found_TM = change_TM * factor_B[rows_of(batch), None]
    return torch.where(factor_B[rows_of(batch), None] > 0, found_TM, 0.0)


def kept_within(change_TM: Tensor, batch: Batch, norm: Norm, radius: float) -> Tensor:
    """The nearest changes (in Euclidean distance) whose size is at most *radius* in every row."""
    if norm == "inf":
        return change_TM.clamp(-radius, radius)
    size_B = sizes(change_TM, batch, norm)
    factor_B = torch.where(size_B > radius, radius / size_B, 1.0)
    return change_TM * factor_B[rows_of(batch), None]
