"""Rows of tokens into a graph, and what it answers back to the rows, in NumPy.

Shape legend: B rows, L the longest row's tokens, W the most units (words) that a row owns, R rows that a task is asked
for, N answers of these, D hidden size, C values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.groups import GroupData
from braid.model.answers import Row

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "unit_tokens")
"""Names of the graph's inputs: [B, L] each, as transformers calls them; and [B, W], the token of each unit's first
piece, counted within its row."""

EMBEDDING = "embedding"
"""The output that is no task's: the mean of the last hidden states over all tokens of a row, [B, D]."""

AnswerOf = Literal["row", "units", "pairs"]
"""What an output has one vector of: [B, C] of each row, [B, W, C] of each unit, or [B, W, W + 1, C] of each unit and
each head that it may have, the root first."""


@dataclass(frozen=True, eq=False)
class Padded:
    """Rows as a graph reads them: *inputs* by name, and how many units each owns, *counts* [B]."""

    inputs: dict[str, np.ndarray]
    counts_B: np.ndarray


def padded(groups: Sequence[GroupData], rows: Sequence[Row]) -> Padded:
    """Rows [B, L] padded behind their ends, and units [B, W], at least one of each."""
    fed = [groups[g].fed(row, None) for g, row in rows]
    ids_BL, real_BL = _rectangle([row.ids for row in fed])
    segments_BL, _ = _rectangle([row.segments for row in fed])
    words_BW, owned_BW = _rectangle([row.unit_tokens for row in fed])
    values = (ids_BL, real_BL.astype(np.int64), segments_BL, words_BW)
    return Padded(dict(zip(INPUTS, values, strict=True)), owned_BW.sum(axis=1))


def flat(values: np.ndarray, counts_R: np.ndarray, kind: AnswerOf) -> tuple[np.ndarray, np.ndarray]:
    """The real answers of R rows end to end, [N, C], and how many each has [R]."""
    if kind == "row":
        return values, np.ones(len(values), np.int64)
    if kind == "units":
        return values[np.arange(values.shape[1]) < counts_R[:, None]], counts_R
    size = values.shape[-1]
    parts = [row[:count, : count + 1].reshape(-1, size) for row, count in zip(values, counts_R.tolist(), strict=True)]
    return np.concatenate(parts), counts_R * (counts_R + 1)


def answers_of(
    values: Mapping[str, np.ndarray], places: Mapping[str, Sequence[int]], given: Padded, kinds: Mapping[str, AnswerOf]
) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Each task's answers [N, C] of its own rows (*places* in the batch), and how many each of these has."""
    out = {}
    for task, chosen in places.items():
        found, sizes = flat(values[task][chosen], given.counts_B[chosen], kinds[task])
        out[task] = np.ascontiguousarray(found), sizes.tolist()
    return out


def _rectangle(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows [B, n] filled up with 0, int64, and where they are real."""
    sizes_B = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    real = np.arange(max(1, int(sizes_B.max(initial=0)))) < sizes_B[:, None]
    out = np.zeros(real.shape, np.int64)
    if len(rows):
        out[real] = np.concatenate(rows)
    return out, real
