"""Which rows make which batch: a pure function of seed, epoch and data sizes.

Nothing here knows ranks, workers or time. Any batch of any epoch can be asked for without going through the
ones before it, so a resumed run goes on exactly where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal, overload

import numpy as np

from braid.data.samplers.base import Sampler

Step = list[tuple[int, int]]
"""The rows of one global batch: (group, row of the group)."""

COUNTED = 2_000_000
"""Rows up to which batches are counted one by one before training starts, in a second or two."""

OPEN_BINS = 8
"""How many batches are being filled at once: rows that do not fit one go to the next, so batches end fuller."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The order of a whole run.

    *lengths*: tokens of every row, by group. *rates*: how often each group is drawn (from the chain).
    Exactly one of *batch_tokens* (tokens a batch holds at most; a longer row is a batch of its own) and *batch_rows*.
    *batches*: `mixed` draws each batch from all groups; `single` gives each batch one group and shuffles the batches
    together (MT-DNN, arXiv 1901.11504, algorithm 1).
    """

    lengths: tuple[np.ndarray, ...]
    rates: tuple[float, ...]
    sampler: Sampler
    epochs: int
    seed: int
    batch_tokens: int | None = None
    batch_rows: int | None = None
    batches: Literal["mixed", "single"] = "mixed"

    def epoch(self, number: int) -> Epoch:
        """All batches of one epoch, in order."""
        return _epoch(self, number)

    def size(self, number: int) -> int:
        """Batches of one epoch."""
        if self.batch_rows is None:
            return len(self.epoch(number))
        counts = self.draws(number)
        return sum(-(-n // self.batch_rows) for n in (counts if self.batches == "single" else [sum(counts)]))

    def expected(self, enough: int | None = None) -> int:
        """Batches of all epochs, or *enough*, if they are more. Where batches hold tokens their number is only known
        by filling them; beyond `COUNTED` rows it is extrapolated from the epochs before, which are much alike."""
        steps = rows = 0
        for number in range(self.epochs):
            drawn = sum(self.draws(number))
            filled = self.batch_rows is None and rows > 0 and rows + drawn > COUNTED
            steps += round(steps * drawn / rows) if filled else self.size(number)
            rows += drawn
            if enough is not None and steps >= enough:
                return enough
        return steps

    def draws(self, number: int) -> list[int]:
        """Rows drawn from every group in one epoch."""
        sizes = [len(rows) for rows in self.lengths]
        return self.sampler.draws(sizes, self.rates, epoch=number, epochs=self.epochs)

    def _starts(self, number: int) -> list[int]:
        """Rows drawn from every group before an epoch."""
        known = self._before
        while len(known) <= number:
            counts = self.draws(len(known) - 1)
            known.append([start + count for start, count in zip(known[-1], counts, strict=True)])
        return known[number]

    @cached_property
    def _before(self) -> list[list[int]]:
        return [[0] * len(self.lengths)]

    def _drawn(self, number: int) -> list[np.ndarray]:
        """Rows of every group that one epoch draws. Each group is one endless stream of shuffled passes, and an epoch
        takes the next piece of it: no row is drawn a second time before all others were drawn once."""
        counts = self.draws(number)
        starts = self._starts(number)
        out = []
        for group, (start, count) in enumerate(zip(starts, counts, strict=True)):
            size = len(self.lengths[group])
            if size == 0 or count == 0:
                out.append(np.empty(0, np.int64))
                continue
            passes = range(start // size, (start + count - 1) // size + 1)
            stream = np.concatenate([_rng(self.seed, 1, group, p).permutation(size) for p in passes])
            offset = start - passes.start * size
            out.append(stream[offset : offset + count])
        return out


@dataclass(frozen=True, eq=False)
class Epoch(Sequence[Step]):
    """The batches of an epoch. Held as numbers, a few bytes a row: a corpus has many millions of rows.

    *groups*, *rows* [N]: what is drawn; *picks*: of each batch the places in these, in the order of its rows."""

    groups: np.ndarray
    rows: np.ndarray
    picks: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.picks)

    @overload
    def __getitem__(self, number: int) -> Step: ...
    @overload
    def __getitem__(self, number: slice) -> list[Step]: ...
    def __getitem__(self, number: int | slice) -> Step | list[Step]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        pick = self.picks[number]
        return list(zip(self.groups[pick].tolist(), self.rows[pick].tolist(), strict=True))


@lru_cache(maxsize=2)
def _epoch(plan: Plan, number: int) -> Epoch:
    drawn = plan._drawn(number)
    rng = _rng(plan.seed, 2, number)
    groups = np.repeat(np.arange(len(drawn), dtype=np.int32), [len(rows) for rows in drawn])
    rows = np.concatenate(drawn) if drawn else np.empty(0, np.int64)
    if plan.batches == "mixed":
        order = rng.permutation(len(rows))
        groups, rows = groups[order], rows[order]
    sizes = np.empty(len(rows), np.int64)
    for group, lengths in enumerate(plan.lengths):
        mine = groups == group
        sizes[mine] = np.asarray(lengths)[rows[mine]]
    if plan.batches == "mixed":
        picks = _fill(plan, sizes)
    else:
        ends = np.cumsum([0, *map(len, drawn)])
        picks = [pick + first for first, last in pairwise(ends) for pick in _fill(plan, sizes[first:last])]
        picks = [picks[k] for k in rng.permutation(len(picks))]
    return Epoch(groups, rows, [pick[np.lexsort((rows[pick], groups[pick], sizes[pick]))] for pick in picks])


def _fill(plan: Plan, sizes: np.ndarray) -> list[np.ndarray]:
    if plan.batch_rows is not None:
        return [np.arange(k, min(k + plan.batch_rows, len(sizes))) for k in range(0, len(sizes), plan.batch_rows)]
    assert plan.batch_tokens is not None
    return fill_by_tokens(sizes, plan.batch_tokens)


def fill_by_tokens(sizes: Sequence[int] | np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows of these *sizes* dealt to batches of at most `budget` tokens, in the rows' order as far as filling allows:
    a row goes to the first of a few open batches that has room; the oldest closes when there is none.

    *Returns*: of each batch the numbers of its rows."""
    done: list[np.ndarray] = []
    used: list[int] = []
    bins: list[list[int]] = []
    for row, size in enumerate(map(int, sizes)):
        for k, total in enumerate(used):
            if total + size <= budget:
                bins[k].append(row)
                used[k] = total + size
                break
        else:
            if len(bins) == OPEN_BINS:
                done.append(np.array(bins.pop(0)))
                used.pop(0)
            bins.append([row])
            used.append(size)
    return done + [np.array(rows) for rows in bins]


def split_step(step: Step, lengths: Sequence[np.ndarray], parts: int) -> list[Step]:
    """A global batch divided into `parts` of nearly equal tokens (for accumulation and ranks); empty ones are left out.

    Longest rows are dealt first, each to the part with the fewest tokens."""
    if parts == 1:
        return [step]
    loads, out = [0] * parts, [[] for _ in range(parts)]  # type: ignore[var-annotated]
    for row in sorted(step, key=lambda gr: (-int(lengths[gr[0]][gr[1]]), gr)):
        part = min(range(parts), key=lambda p: (loads[p], len(out[p]), p))
        loads[part] += int(lengths[row[0]][row[1]])
        out[part].append(row)
    return [_by_length(lengths, part) for part in out if part]


def _by_length(lengths: Sequence[np.ndarray], step: Step) -> Step:
    """Rows of similar length next to each other, so that attention can take them together."""
    return sorted(step, key=lambda gr: (int(lengths[gr[0]][gr[1]]), gr))


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))
