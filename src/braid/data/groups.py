"""One group of the chain in one split: its rows, the targets of its tasks, and batches of several groups.

Shape legend: n rows of the group, B rows of a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from braid.data.bundles import Bundles
from braid.data.cache import TokenRows
from braid.data.changes import Change, Draw, Drawn, Use
from braid.data.corpus.rows import CorpusRows
from braid.data.example import Example, Window
from braid.data.windows import UnitKind, units_of
from braid.errors import DataError, LabelError, Place, Problem, SkippedLabelError

if TYPE_CHECKING:
    from braid.data.batch import Batch, Targets

Encode = Callable[[object, Example, Window], Mapping[str, np.ndarray] | None]
"""A task's label as the target of one window; None: this window carries none. Raises LabelError, SkippedLabelError."""

MAX_PROBLEMS = 200


@dataclass(frozen=True, eq=False)
class TargetTable:
    """One task's targets of all rows, flat. *has* [n]: whether a row has one; *counts* [n]: what it adds to the loss's
    divisor; *arrays*: key -> (values, bounds [n+1]); *skipped*: reason -> where labels were left out for it."""

    has: np.ndarray
    counts: np.ndarray
    arrays: dict[str, tuple[np.ndarray, np.ndarray]]
    skipped: dict[str, list[Place | None]] = field(default_factory=dict)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {key: values[bounds[row] : bounds[row + 1]] for key, (values, bounds) in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class Maker:
    """A task that makes its targets from the text: what it does to a row, and what its target adds to the loss's
    divisor."""

    change: Change
    count: Callable[[dict[str, np.ndarray]], int]


@dataclass(frozen=True, slots=True)
class Fed:
    """A row as it goes into a batch: *ids*, *segments* [T], *unit_tokens*, and task -> (target, count)."""

    ids: np.ndarray
    segments: np.ndarray
    unit_tokens: np.ndarray
    targets: Mapping[str, tuple[Mapping[str, np.ndarray], int]]


@dataclass(frozen=True, eq=False)
class GroupData:
    """*tasks*: names; *examples*; *rows*: their token rows, or a corpus's, which has no examples; *units*: which units
    the rows were aligned to; *targets*: task -> table (empty for data that is only predicted); *bundles*: rows that
    stay together, where any do; *makers*: tasks that make their own targets, in the order in which they change a
    row."""

    tasks: tuple[str, ...]
    examples: Sequence[Example]
    rows: TokenRows | CorpusRows
    units: UnitKind
    targets: dict[str, TargetTable] = field(default_factory=dict)
    bundles: Bundles | None = None
    makers: dict[str, Maker] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of everything that a plan draws: of rows, or of bundles."""
        return self.rows.lengths if self.bundles is None else self.bundles.lengths

    @property
    def labelled(self) -> tuple[str, ...]:
        """The tasks whose rows carry labels."""
        return tuple(task for task in self.tasks if task not in self.makers)

    def truncated(self) -> int:
        """Examples that lost text because they are longer than a row."""
        return len(np.unique(self.rows.example[self.rows.truncated]))

    def place(self, row: int) -> Place | None:
        """Where the text of a row stands, as far as that is known."""
        return self.examples[int(self.rows.example[row])].place if self.examples else None

    @cached_property
    def key(self) -> int:
        """Tells the random numbers of this group from those of others, wherever it stands in a chain."""
        return zlib.crc32(" & ".join(self.tasks).encode())

    def fed(self, row: int, draw: Draw | None) -> Fed:
        """A row of this group. *draw*: its use, for tasks that make their own targets; None: the row as it is, without
        these."""
        targets: dict[str, tuple[Mapping[str, np.ndarray], int]] = {
            task: (table[row], int(table.counts[row])) for task, table in self.targets.items() if table.has[row]
        }
        ids, segments, units = (self.rows.column(name, row) for name in ("ids", "segments", "unit_tokens"))
        if draw is not None and self.makers:
            drawn = Drawn(ids=ids.astype(np.int64), segments=segments)
            if isinstance(self.rows, CorpusRows):
                drawn = self.rows.drawn(row, draw.rng(self.key, row))
            for task, maker in self.makers.items():
                drawn, target = maker.change(drawn, Use(draw, self.key, row))
                if target is not None:
                    targets[task] = target, maker.count(dict(target))
            ids, segments = drawn.ids, drawn.segments
        return Fed(ids, segments, units, targets)


def build_targets(
    examples: Sequence[Example],
    rows: TokenRows,
    units: UnitKind,
    *,
    task: str,
    encode: Encode,
    count: Callable[[dict[str, np.ndarray]], int],
) -> TargetTable:
    """Encode every label of one task. Labels that do not fit are collected and raised together, with their places;
    those to be skipped are counted.

    Raises DataError."""
    targets: list[Mapping[str, np.ndarray] | None] = []
    problems: list[Problem] = []
    skipped: dict[str, list[Place | None]] = {}
    failed: set[int] = set()
    last, spans = -1, np.empty((0, 2), np.int32)
    for row in rows:
        number = int(rows.example[row])
        example = examples[number]
        label = example.labels.get(task)
        if label is None or number in failed:
            targets.append(None)
            continue
        if number != last:
            last, spans = number, units_of(example, units)
        try:
            targets.append(encode(label, example, rows.window(row, spans)))
        except SkippedLabelError as error:
            failed.add(number)
            targets.append(None)
            skipped.setdefault(error.reason, []).append(example.place)
        except LabelError as error:
            failed.add(number)
            targets.append(None)
            problems.append(Problem(what=str(error), place=example.place, key=f"task {task}"))
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        more = " (and maybe more)" if len(problems) >= MAX_PROBLEMS else ""
        raise DataError(problems, title=f"{len(problems)} labels of task {task!r} cannot be used{more}:")
    return _table(targets, count, skipped)


def _table(
    targets: Sequence[Mapping[str, np.ndarray] | None],
    count: Callable[[dict[str, np.ndarray]], int],
    skipped: dict[str, list[Place | None]],
) -> TargetTable:
    keys = sorted({key for target in targets if target is not None for key in target})
    arrays = {}
    for key in keys:
        parts = [np.empty(0) if target is None else np.asarray(target[key]) for target in targets]
        kind = next((part.dtype.kind for part, target in zip(parts, targets, strict=True) if target is not None), "i")
        bounds = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
        arrays[key] = (np.concatenate(parts).astype(np.float32 if kind == "f" else np.int64), bounds)
    has = np.fromiter((target is not None for target in targets), dtype=bool, count=len(targets))
    counts = [0 if target is None else count(dict(target)) for target in targets]
    return TargetTable(has=has, counts=np.asarray(counts, dtype=np.int64), arrays=arrays, skipped=skipped)


def drawn_rows(groups: Sequence[GroupData], step: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The rows (group, row) of a step of the plan, bundles opened, shortest rows first."""
    rows = []
    for group, number in step:
        bundles = groups[group].bundles
        rows += [(group, number)] if bundles is None else [(group, row) for row in bundles[number]]
    return sorted(rows, key=lambda at: (int(groups[at[0]].rows.lengths[at[1]]), at))


def make_batch(
    groups: Sequence[GroupData],
    step: Sequence[tuple[int, int]],
    tasks: Iterable[str] | None = None,
    *,
    draw: Draw | None = None,
    few_shapes: bool = False,
) -> Batch:
    """The packed batch of the rows of a step, with the targets of `tasks` (None: all that rows have). *draw*: which use
    of the rows this is; None: tasks that make their own targets have none, and change nothing. *few_shapes*: as
    in `braid.data.packing.layout`."""
    from braid.data.packing import pack, pack_targets  # torch, which rows do without

    wanted = None if tasks is None else set(tasks)
    rows = [groups[group].fed(row, draw) for group, row in step]
    places: dict[str, list[int]] = {}
    for place, fed in enumerate(rows):
        for task in fed.targets:
            if wanted is None or task in wanted:
                places.setdefault(task, []).append(place)
    targets: dict[str, Targets] = {
        task: pack_targets(
            found,
            [rows[place].targets[task][0] for place in found],
            count=sum(rows[place].targets[task][1] for place in found),
            counts=[rows[place].targets[task][1] for place in found],
            examples=[(step[place][0], int(groups[step[place][0]].rows.example[step[place][1]])) for place in found],
        )
        for task, found in places.items()
    }
    columns = [row.ids for row in rows], [row.segments for row in rows], [row.unit_tokens for row in rows]
    return pack(*columns, targets=targets, origins=list(step), few_shapes=few_shapes)
