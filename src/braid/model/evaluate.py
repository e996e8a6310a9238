"""Every task's metrics on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from braid.data.groups import GroupData
from braid.data.windows import units_of
from braid.errors import DataError, LabelError, Problem
from braid.metrics.meter import Meter
from braid.model.inference import Precision, infer
from braid.model.network import BraidModel

Scores = dict[str, dict[str, float]]
"""{task: {metric: value}}, the first metric of each task being its type's main one."""


def evaluate(
    model: BraidModel,
    groups: Sequence[GroupData],
    *,
    batch_tokens: int = 8192,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    progress: Callable[[int], None] = lambda rows: None,
) -> Scores:
    """Metrics of all tasks over the whole set; a row without a task's label adds nothing to that task.

    A task without any labelled row is left out. Raises DataError for labels that the task cannot hold."""
    return {
        task: meter.compute()
        for task, meter in meters(
            model, groups, batch_tokens=batch_tokens, device=device, precision=precision, progress=progress
        ).items()
    }


def meters(model: BraidModel, groups: Sequence[GroupData], **options: Any) -> dict[str, Meter]:
    """As `evaluate`, but the meters themselves (for tables by class)."""
    labelled = [_labelled(group) for group in groups]
    predictions = infer(model, labelled, **options)
    out: dict[str, Meter] = {}
    problems: list[Problem] = []
    for (g, task), found in predictions.items():
        spec = model.specs[task]
        meter = spec.task.meter(spec.facts)
        seen = 0
        for example, prediction in zip(labelled[g].examples, found, strict=True):
            label = example.labels.get(task)
            if label is None:
                continue
            try:
                gold = spec.task.gold(label, example, units_of(example, labelled[g].units), spec.facts)
            except LabelError as error:
                problems.append(Problem(what=str(error), place=example.place, key=f"task {task}"))
                continue
            meter.update(prediction, gold)
            seen += 1
        if not seen:
            continue
        if task in out:
            out[task].merge(meter)
        else:
            out[task] = meter
    if problems:
        raise DataError(problems, title="labels that cannot be evaluated:")
    return out


def _labelled(group: GroupData) -> GroupData:
    """The group with only those tasks that have a label in some row."""
    tasks = [task for task in group.tasks if any(example.labels.get(task) is not None for example in group.examples)]
    return GroupData(tuple(tasks), group.examples, group.rows, group.units)
