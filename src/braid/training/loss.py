"""How task losses add up, exactly: counts are taken over the global batch before any gradient is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from braid.data.batch import Batch
from braid.parallel.world import ALONE, World


@dataclass(frozen=True)
class Counts:
    """What a global batch holds: *targets* (what losses are divided by) and *rows* by task; its *total* of rows."""

    targets: Mapping[str, int]
    rows: Mapping[str, int]
    total: int


def count(batches: Sequence[Batch], tasks: Sequence[str], world: World = ALONE) -> Counts:
    """The counts of a global batch. *batches*: what this process computes of it; *tasks*: those of the whole model, in
    the same order everywhere."""
    here = [float(sum(batch.n_rows for batch in batches))]
    for task in tasks:
        found = [batch.targets[task] for batch in batches if task in batch.targets]
        here += [float(sum(targets.count for targets in found)), float(sum(len(targets.rows) for targets in found))]
    total, *pairs = map(int, world.sum(here))
    return Counts(dict(zip(tasks, pairs[::2], strict=True)), dict(zip(tasks, pairs[1::2], strict=True)), total)


def loss_scales(counts: Counts, weights: Mapping[str, float], normalise: Literal["row", "task"]) -> dict[str, float]:
    """What each task's *summed* loss is multiplied by, in every part of one global batch; only tasks that are in it.

    `row`: weight x 1/count x (rows that have the task / rows of the global batch). `task`: weight x 1/count x 1/(tasks
    present). Count and rows are those of the whole global batch, so dividing it differently changes nothing."""
    present = [task for task, n in counts.targets.items() if n]
    share = {task: counts.rows[task] / counts.total if normalise == "row" else 1 / len(present) for task in present}
    return {task: weights[task] * share[task] / counts.targets[task] for task in present}
