"""Spans of a text by the scores of their first and last unit.

Shape legend: U units of one text, L longest span, n spans found or segments; Q questions; N values of all texts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Spans(NamedTuple):
    """*units* [n, 2]: first and last unit (inclusive), the best span first; *scores* [n]: sum of both ends' logits;
    *total*: the logarithm of the sum of all spans' exponentiated scores (-inf for a text without units)."""

    units: np.ndarray
    scores: np.ndarray
    total: float


def best_spans(start_U: np.ndarray, end_U: np.ndarray, *, longest: int, n: int = 1) -> Spans:
    """The `n` best of all spans of 1 to `longest` units, in float64; of equal ones the first. Fewer where there are
    not so many. Takes U x L steps of time and memory."""
    size = len(start_U)
    if not size:
        return Spans(np.empty((0, 2), np.int64), np.empty(0), -np.inf)
    width = min(longest, size)
    ends = np.concatenate([end_U.astype(np.float64), np.full(width - 1, -np.inf)])
    scores_UL = start_U.astype(np.float64)[:, None] + np.lib.stride_tricks.sliding_window_view(ends, width)
    flat = scores_UL.ravel()
    # Spans that would run over the end of the text are -inf, and never among the best.
    n = min(n, size * width - width * (width - 1) // 2)
    if n == 1:
        found = flat.argmax(keepdims=True)
    else:
        found = np.flatnonzero(flat >= np.partition(flat, len(flat) - n)[len(flat) - n])
        found = found[np.argsort(-flat[found], kind="stable")][:n]
    first, length = np.divmod(found, width)
    best = flat[found]
    return Spans(np.stack([first, first + length], axis=1), best, float(best[0] + np.log(np.exp(flat - best[0]).sum())))


def best_threshold(margins_Q: np.ndarray, answered_Q: np.ndarray, declined_Q: np.ndarray) -> float:
    """The threshold on `margins` (no-answer score less the best answer's, float32) beyond which no answer is given,
    so that the scores' sum is highest: *answered* where one is given, *declined* where none is.

    Every threshold is tried, as SQuAD's evaluate-v2.0.py does; of equal ones the lowest is taken, halfway to the next
    margin."""
    order = np.argsort(margins_Q, kind="stable")
    margins = margins_Q[order].astype(np.float32)
    totals = np.concatenate([[0.0], np.cumsum((answered_Q - declined_Q)[order])])
    # Questions of one margin cannot be told apart.
    totals[1:-1][margins[:-1] == margins[1:]] = -np.inf
    cut = int(totals.argmax())
    if cut == 0:
        return float(margins[0]) - 1
    if cut == len(margins):
        return float(margins[-1])
    below, above = margins[cut - 1 : cut + 1]
    middle = below + (above - below) / 2
    return float(middle if middle < above else below)
