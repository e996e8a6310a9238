"""What heads answered of rows, put together by example: windows merged, in whatever order batches come.

Nothing here knows torch: a graph of an exported model answers too. Shape legend: U units of an example, C values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braid.data.cache import TokenRows
from braid.data.example import Example
from braid.data.groups import GroupData
from braid.data.plan import fill_by_tokens
from braid.data.windows import Layout, units_of

Row = tuple[int, int]
"""Group, and row of the group."""

Piece = tuple[int, int, str, np.ndarray]
"""Group, row, task, and the row's part of what the task's head answered."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What heads answered of one group's examples for one task, still undecoded. *values*: [n, C] float32 for each
    example, its windows end to end; *units* [U, 2] of each."""

    values: list[np.ndarray]
    examples: Sequence[Example]
    units: list[np.ndarray]


def by_length(groups: Sequence[GroupData], batch_tokens: int) -> Iterator[list[Row]]:
    """All rows of the groups in batches, the longest first; within a batch the shortest first."""
    rows = [(g, row) for g, group in enumerate(groups) for row in group.rows]
    sizes = [int(groups[g].rows.lengths[row]) for g, row in rows]
    order = sorted(range(len(rows)), key=lambda k: -sizes[k])
    for pick in fill_by_tokens([sizes[k] for k in order], batch_tokens):
        yield [rows[order[k]] for k in pick[::-1]]


def wanted(
    groups: Sequence[GroupData], rows: Sequence[Row], layout_of: Callable[[str], Layout]
) -> dict[str, list[int]]:
    """The places in a batch that each task is asked for: all rows of its groups; of a task that reads a text jointly
    only the first window."""
    out: dict[str, list[int]] = {}
    for place, (g, row) in enumerate(rows):
        for task in groups[g].labelled:
            if layout_of(task) != "joint" or groups[g].rows.number[row] == 0:
                out.setdefault(task, []).append(place)
    return out


def pieces(
    rows: Sequence[Row], task: str, places: Sequence[int], values: np.ndarray, sizes: Sequence[int]
) -> Iterator[Piece]:
    """Each row's part of a task's flat answers."""
    assert sum(sizes) == len(values), "a head must answer for every row that it was asked for, and no other"
    at = 0
    for place, size in zip(places, sizes, strict=True):
        yield *rows[place], task, values[at : at + size]
        at += size


def collected(groups: Sequence[GroupData], found: Iterable[Iterable[Piece]]) -> dict[tuple[int, str], Answers]:
    """The answers by group and task, given to their examples, windows in their order."""
    out: dict[tuple[int, str], list[list[np.ndarray]]] = {
        (g, task): [[] for _ in group.examples] for g, group in enumerate(groups) for task in group.labelled
    }
    for some in found:
        _deal(groups, some, out)
    units = [
        [units_of(example, group.units) for example in group.examples] if group.labelled else [] for group in groups
    ]
    return {key: _joined(groups[key[0]], units[key[0]], windows) for key, windows in out.items()}


def _deal(
    groups: Sequence[GroupData], found: Iterable[Piece], out: Mapping[tuple[int, str], list[list[np.ndarray]]]
) -> None:
    for g, row, task, values in found:
        rows = groups[g].rows
        assert isinstance(rows, TokenRows)
        windows = out[g, task][int(rows.example[row])]
        number = int(rows.number[row])
        while len(windows) <= number:
            windows.append(values[:0])
        windows[number] = values


def _joined(group: GroupData, units: list[np.ndarray], found: list[list[np.ndarray]]) -> Answers:
    merged = [windows[0] if len(windows) == 1 else np.concatenate(windows) for windows in found]
    return Answers(merged, group.examples, units)
