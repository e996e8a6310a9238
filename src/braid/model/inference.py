"""Rows through the model: batches by token budget, logits back to their examples, windows merged, decoded.

Shape legend: U units of an example, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch

from braid.data.batch import Batch
from braid.data.cache import TokenRows
from braid.data.changes import Draw
from braid.data.example import Example
from braid.data.groups import GroupData, make_batch
from braid.data.plan import fill_by_tokens
from braid.data.windows import units_of
from braid.model.network import BraidModel
from braid.model.precision import autocast, inference_tokens
from braid.parallel.world import ALONE, World

Precision = Literal["fp32", "bf16"]
Piece = tuple[int, int, str, np.ndarray]
"""Group, row, task, and the row's part of what the task's head answered."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What heads answered of one group's examples for one task, still undecoded. *values*: [n, C] float32 for each
    example, its windows end to end; *units* [U, 2] of each."""

    values: list[np.ndarray]
    examples: Sequence[Example]
    units: list[np.ndarray]


def infer(model: BraidModel, groups: Sequence[GroupData], **options: Any) -> dict[tuple[int, str], list[Any]]:
    """Predictions of every group's tasks: (group, task) -> one `Prediction` per example of the group. Options as for
    `answers`."""
    return {
        key: list(model.head(key[1]).decode(found.values, found.examples, found.units))
        for key, found in answers(model, groups, **options).items()
    }


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
    pieces: list[Piece] = []
    was_training = model.training
    if was_training:  # to tell every module costs as much as a small text
        model.eval()
    try:
        for batch in islice(batches(groups, inference_tokens(batch_tokens, device)), world.rank, None, world.size):
            wanted = _wanted(model, groups, batch)
            with torch.inference_mode(), autocast(precision, device):
                found = model.answers(batch.to(device), {task: index.to(device) for task, index in wanted.items()})
            for task, index in wanted.items():
                values, sizes = found[task]
                pieces += _pieces(batch, task, index, values.float().cpu().numpy(), sizes.tolist())
            progress(batch.n_rows)
    finally:
        if was_training:
            model.train()
    out: dict[tuple[int, str], list[list[np.ndarray]]] = {
        (g, task): [[] for _ in group.examples] for g, group in enumerate(groups) for task in group.labelled
    }
    for found_there in world.gather(pieces):
        _deal(groups, found_there, out)
    units = [
        [units_of(example, group.units) for example in group.examples] if group.labelled else [] for group in groups
    ]
    return {key: _joined(groups[key[0]], units[key[0]], windows) for key, windows in out.items()}


def batches(groups: Sequence[GroupData], batch_tokens: int, *, draw: Draw | None = None) -> Iterator[Batch]:
    """All rows of the groups, the longest first. *draw*: with the targets that tasks make themselves; else with
    none."""
    made = {task for group in groups for task in group.makers} if draw is not None else set()
    rows = [(g, row) for g, group in enumerate(groups) for row in group.rows]
    sizes = [int(groups[g].rows.lengths[row]) for g, row in rows]
    order = sorted(range(len(rows)), key=lambda k: -sizes[k])
    for pick in fill_by_tokens([sizes[k] for k in order], batch_tokens):
        yield make_batch(groups, [rows[order[k]] for k in pick[::-1]], tasks=made, draw=draw, few_shapes=len(pick) > 1)


def _wanted(model: BraidModel, groups: Sequence[GroupData], batch: Batch) -> dict[str, torch.Tensor]:
    """The batch rows that each task is asked for: all rows of its groups; a task that reads a text jointly only the
    first window."""
    out: dict[str, list[int]] = {}
    for place, (g, row) in enumerate(batch.origins):
        for task in groups[g].labelled:
            if model.specs[task].task.layout != "joint" or groups[g].rows.number[row] == 0:
                out.setdefault(task, []).append(place)
    return {task: torch.tensor(places) for task, places in out.items()}


def _pieces(batch: Batch, task: str, index: torch.Tensor, values: np.ndarray, sizes: Sequence[int]) -> Iterator[Piece]:
    """Each row's part of a task's flat answers."""
    assert sum(sizes) == len(values), "a head must answer for every row that it was asked for, and no other"
    at = 0
    for place, size in zip(index.tolist(), sizes, strict=True):
        yield *batch.origins[place], task, values[at : at + size]
        at += size


def _deal(
    groups: Sequence[GroupData], pieces: Iterable[Piece], out: Mapping[tuple[int, str], list[list[np.ndarray]]]
) -> None:
    """Give each row's answers to its example, windows in their order, in whatever order they come."""
    for g, row, task, values in pieces:
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
