"""How task losses add up, exactly: counts are taken over the global batch before any gradient is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from braid.data.batch import Batch
from braid.model.network import BraidModel


def loss_scales(
    batches: Sequence[Batch], weights: Mapping[str, float], normalise: Literal["row", "task"]
) -> dict[str, float]:
    """What each task's *summed* loss is multiplied by, in every micro-batch of one global batch.

    `row`: weight x 1/count x (rows that have the task / rows of the global batch). `task`: weight x 1/count x 1/(tasks
    present). Count and rows are those of the whole global batch, so dividing it differently changes nothing."""
    counts: dict[str, int] = {}
    rows: dict[str, int] = {}
    for batch in batches:
        for task, targets in batch.targets.items():
            counts[task] = counts.get(task, 0) + targets.count
            rows[task] = rows.get(task, 0) + len(targets.rows)
    present = [task for task in counts if counts[task]]
    total = sum(batch.n_rows for batch in batches)
    share = {task: rows[task] / total if normalise == "row" else 1 / len(present) for task in present}
    return {task: weights[task] * share[task] / counts[task] for task in present}


def task_losses(model: BraidModel, batch: Batch, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each task's summed loss over a batch, in fp32."""
    return {name: model.head(name).loss(values.float(), batch.targets[name]) for name, values in logits.items()}
