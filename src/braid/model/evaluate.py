"""Every task's metrics on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from braid.data.groups import GroupData
from braid.errors import DataError, LabelError, Problem, SkippedLabelError
from braid.metrics.meter import Meter
from braid.model.inference import Answers, Precision, answers
from braid.model.network import BraidModel, TaskSpec

Scores = dict[str, dict[str, float]]
"""{task: {metric: value}}, the first metric of each task being its type's main one."""


def evaluate(
    model: BraidModel,
    groups: Sequence[GroupData],
    *,
    tune: bool = False,
    batch_tokens: int = 8192,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    progress: Callable[[int], None] = lambda rows: None,
) -> Scores:
    """Metrics of all tasks over the whole set; a row without a task's label adds nothing to that task. *tune*: first
    let heads set their thresholds by these labels (for dev data).

    A task without any labelled row is left out. Raises DataError for labels that the task cannot hold."""
    found = meters(
        model, groups, tune=tune, batch_tokens=batch_tokens, device=device, precision=precision, progress=progress
    )
    return {task: meter.compute() for task, meter in found.items()}


def meters(model: BraidModel, groups: Sequence[GroupData], *, tune: bool = False, **options: Any) -> dict[str, Meter]:
    """As `evaluate`, but the meters themselves (for tables by class)."""
    out: dict[str, Meter] = {}
    problems: list[Problem] = []
    for (_, task), found in answers(model, [_labelled(group) for group in groups], **options).items():
        spec, head = model.specs[task], model.head(task)
        chosen, golds = _golds(task, spec, found, problems)
        if not chosen:
            continue
        values, examples = [found.values[k] for k in chosen], [found.examples[k] for k in chosen]
        units = [found.units[k] for k in chosen]
        if tune and head.tunes:
            head.tune(values, golds, examples, units)
        meter = spec.task.meter(spec.facts)
        for prediction, gold in zip(head.decode(values, examples, units), golds, strict=True):
            meter.update(prediction, gold)
        if task in out:
            out[task].merge(meter)
        else:
            out[task] = meter
    if problems:
        raise DataError(problems, title="labels that cannot be evaluated:")
    return out


def _golds(task: str, spec: TaskSpec, found: Answers, problems: list[Problem]) -> tuple[list[int], list[Any]]:
    """Which examples have a label that predictions can be compared with, and these labels."""
    chosen, golds = [], []
    for number, (example, spans) in enumerate(zip(found.examples, found.units, strict=True)):
        label = example.labels.get(task)
        if label is None:
            continue
        try:
            golds.append(spec.task.gold(label, example, spans, spec.facts))
        except SkippedLabelError:
            continue
        except LabelError as error:
            problems.append(Problem(what=str(error), place=example.place, key=f"task {task}"))
            continue
        chosen.append(number)
    return chosen, golds


def _labelled(group: GroupData) -> GroupData:
    """The group with only those tasks that have a label in some row."""
    tasks = [task for task in group.tasks if any(example.labels.get(task) is not None for example in group.examples)]
    return GroupData(tuple(tasks), group.examples, group.rows, group.units)
