"""Rows through the model: batches by token budget, logits back to their examples, windows merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

import torch

from braid.data.batch import Batch
from braid.data.changes import Draw
from braid.data.groups import GroupData, make_batch
from braid.model.answers import Answers, Piece, by_length, collected, pieces, wanted
from braid.model.network import BraidModel
from braid.model.precision import autocast, inference_tokens
from braid.parallel.world import ALONE, World

Precision = Literal["fp32", "bf16"]


def answers(
    model: BraidModel,
    groups: Sequence[GroupData],
    *,
    batch_tokens: int | None = None,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    progress: Callable[[int], None] = lambda rows: None,
    world: World = ALONE,
) -> dict[tuple[int, str], Answers]:
    """What the heads answer of every group's tasks: (group, task) -> answers.

    The encoder sees each row once, whatever the number of tasks. Rows are sorted by length. *batch_tokens*: None:
    chosen by the device. *progress* is told how
    many rows each batch held. *world*: processes that divide the batches; all get all answers."""
    device = device or next(model.parameters()).device
    found: list[Piece] = []
    was_training = model.training
    if was_training:  # to tell every module costs as much as a small text
        model.eval()
    try:
        for batch in islice(batches(groups, inference_tokens(batch_tokens, device)), world.rank, None, world.size):
            asked = wanted(groups, batch.origins, lambda task: model.specs[task].task.layout)
            rows = {task: torch.tensor(places).to(device) for task, places in asked.items()}
            with torch.inference_mode(), autocast(precision, device):
                said = model.answers(batch.to(device), rows)
            for task, places in asked.items():
                values, sizes = said[task]
                found += pieces(batch.origins, task, places, values.float().cpu().numpy(), sizes.tolist())
            progress(batch.n_rows)
    finally:
        if was_training:
            model.train()
    return collected(groups, world.gather(found))


def batches(groups: Sequence[GroupData], batch_tokens: int, *, draw: Draw | None = None) -> Iterator[Batch]:
    """All rows of the groups, the longest first. *draw*: with the targets that tasks make themselves; else with
    none."""
    made = {task for group in groups for task in group.makers} if draw is not None else set()
    for rows in by_length(groups, batch_tokens):
        yield make_batch(groups, rows, tasks=made, draw=draw, few_shapes=len(rows) > 1)
