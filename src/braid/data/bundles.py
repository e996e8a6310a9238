"""Rows that must stand in one batch: the options of a question, the candidates of a query, the windows of a text.

A plan draws bundles; most groups have none, and each of their rows is one by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.cache import TokenRows
from braid.data.example import Example

Together = Literal["row", "example", "query"]


@dataclass(frozen=True, eq=False)
class Bundles:
    """*rows*: row numbers, bundle after bundle; *bounds* [n+1]: where each begins; *lengths* [n]: its tokens."""

    rows: np.ndarray
    bounds: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> list[int]:
        rows: list[int] = self.rows[self.bounds[number] : self.bounds[number + 1]].tolist()
        return rows


def bundle(examples: Sequence[Example], rows: TokenRows, together: Together) -> Bundles | None:
    """The bundles of a group's rows, in the order in which they begin. None: every row stands for itself."""
    if together == "row" or not len(rows):
        return None
    if together == "example":
        keys = rows.example
    else:
        numbers: dict[tuple[str, str], int] = {}
        names = [("text", e.text) if e.query is None else ("query", e.query) for e in examples]
        keys = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)[rows.example]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return Bundles(
        rows=order, bounds=np.append(starts, len(order)), lengths=np.add.reduceat(rows.lengths[order], starts)
    )
