"""Every task's metrics on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from braid.data.cache import TokenRows
from braid.data.changes import Draw
from braid.data.example import Example
from braid.data.groups import GroupData
from braid.errors import DataError, LabelError, Problem, SkippedLabelError
from braid.metrics.meter import Meter
from braid.model.answers import Answers
from braid.model.inference import Precision, answers, batches
from braid.model.network import BraidModel, TaskSpec
from braid.model.precision import autocast, inference_tokens
from braid.parallel.world import ALONE, World

EVALUATION = Draw(seed=0)
"""The use of rows that figures are taken of: always the same tokens masked."""

Scores = dict[str, dict[str, float]]
"""{task: {metric: value}}, the first metric of each task being its type's main one."""


def evaluate(
    model: BraidModel,
    groups: Sequence[GroupData],
    *,
    tune: bool = False,
    batch_tokens: int | None = None,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    progress: Callable[[int], None] = lambda rows: None,
    world: World = ALONE,
) -> Scores:
    """Metrics of all tasks over the whole set; a row without a task's label adds nothing to that task. *tune*: first
    let heads set their thresholds by these labels (for dev data). *world*: processes that divide the work; all get the
    figures of the whole set.

    A task without any labelled row is left out. Raises DataError for labels that the task cannot hold."""
    options = {"batch_tokens": batch_tokens, "device": device, "precision": precision, "world": world}
    found = meters(model, groups, tune=tune, progress=progress, **options)
    return {task: meter.compute() for task, meter in found.items()}


@dataclass(frozen=True, eq=False)
class Judged:
    """What one task says of labelled examples, beside what their labels say: the n-th of each belong together.
    *units* [U, 2]: character spans of each example's units; *meter* has seen all."""

    examples: list[Example]
    units: list[np.ndarray]
    predictions: list[Any]
    golds: list[Any]
    meter: Meter


def meters(model: BraidModel, groups: Sequence[GroupData], *, tune: bool = False, **options: Any) -> dict[str, Meter]:
    """As `evaluate`, but the meters themselves (for tables by class)."""
    out = text_meters(model, groups, **{key: value for key, value in options.items() if key != "progress"})
    for task, found in judge(model, groups, tune=tune, **options).items():
        if task in out:
            out[task].merge(found.meter)
        else:
            out[task] = found.meter
    return out


def judge(model: BraidModel, groups: Sequence[GroupData], *, tune: bool = False, **options: Any) -> dict[str, Judged]:
    """Predictions of every task whose rows carry labels, with these labels. Options as for `evaluate`.

    A task without any labelled row is left out. Raises DataError for labels that the task cannot hold."""
    found = answers(model, [labelled(group) for group in groups], **options)
    return judged(found, model.specs, model.head, tune=tune)


class Speaker(Protocol):
    """A head, or what is left of one in an exported model."""

    @property
    def tunes(self) -> bool:
        """Whether `tune` sets something."""

    @property
    def tune(self) -> Callable[[Any, Any, Any, Any], None]:
        """See `Head.tune`."""

    @property
    def decode(self) -> Callable[[Any, Any, Any], list[Any]]:
        """See `Decoder.decode`."""


def judged(
    answers_of: Mapping[tuple[int, str], Answers],
    specs: Mapping[str, TaskSpec],
    speaker: Callable[[str], Speaker],
    *,
    tune: bool = False,
) -> dict[str, Judged]:
    """As `judge`, of what was answered already. *speaker*: the head of a task, which decodes."""
    out: dict[str, Judged] = {}
    problems: list[Problem] = []
    for (_, task), found in answers_of.items():
        spec, head = specs[task], speaker(task)
        chosen, golds = golds_of(task, spec, found, problems)
        if not chosen:
            continue
        values, examples = [found.values[k] for k in chosen], [found.examples[k] for k in chosen]
        units = [found.units[k] for k in chosen]
        if tune and head.tunes:
            head.tune(values, golds, examples, units)
        judged = out.setdefault(task, Judged([], [], [], [], spec.task.meter(spec.facts)))
        judged.units.extend(units)
        for example, prediction, gold in zip(examples, head.decode(values, examples, units), golds, strict=True):
            judged.meter.update(prediction, gold)
            judged.examples.append(example)
            judged.predictions.append(prediction)
            judged.golds.append(gold)
    if problems:
        raise DataError(problems, title="labels that cannot be evaluated:")
    return out


def text_meters(
    model: BraidModel,
    groups: Sequence[GroupData],
    *,
    batch_tokens: int | None = None,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    world: World = ALONE,
) -> dict[str, Meter]:
    """The meters of tasks that make their own targets, each row drawn once and always alike."""
    device = device or next(model.parameters()).device
    made = [group if group.makers else replace(group, tasks=(), rows=TokenRows([])) for group in groups]
    found: list[tuple[int, str, np.ndarray, float]] = []
    was_training = model.training
    if was_training:  # to tell every module costs as much as a small text
        model.eval()
    try:
        every = enumerate(batches(made, inference_tokens(batch_tokens, device), draw=EVALUATION))
        for number, batch in islice(every, world.rank, None, world.size):
            with torch.inference_mode(), autocast(precision, device):
                values = model(batch.to(device))
            for task, values_N2 in values.items():
                characters = batch.targets[task].values.get("characters")
                total = 0.0 if characters is None else float(characters.sum())
                found.append((number, task, values_N2.float().cpu().numpy(), total))
    finally:
        if was_training:
            model.train()
    out: dict[str, Meter] = {}
    # In the batches' order, so that the sums are the same whatever process computed which.
    for _, task, values_N2, total in sorted(
        (piece for pieces in world.gather(found) for piece in pieces), key=lambda piece: piece[0]
    ):
        spec = model.specs[task]
        out.setdefault(task, spec.task.meter(spec.facts)).update(values_N2, total)
    return out


def golds_of(task: str, spec: TaskSpec, found: Answers, problems: list[Problem]) -> tuple[list[int], list[Any]]:
    """Which examples have a label that predictions can be compared with, and these labels."""
    chosen, golds = [], []
    for number, (example, spans) in enumerate(zip(found.examples, found.units, strict=True)):
        label = example.labels.get(task)
        if label is None:
            continue
        try:
            golds.append(spec.labelled.gold(label, example, spans, spec.facts))
        except SkippedLabelError:
            continue
        except LabelError as error:
            problems.append(Problem(what=str(error), place=example.place, key=f"task {task}"))
            continue
        chosen.append(number)
    return chosen, golds


def labelled(group: GroupData) -> GroupData:
    """The group with only those tasks that have a label in some row."""
    tasks = [task for task in group.tasks if any(example.labels.get(task) is not None for example in group.examples)]
    return GroupData(tuple(tasks), group.examples, group.rows, group.units)
