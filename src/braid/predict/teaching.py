"""What a teacher writes beside its predictions, so that a student can be trained on the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Prediction
from braid.decoding.regression import Value
from braid.errors import BraidError, LabelError

if TYPE_CHECKING:
    from braid.model.network import TaskSpec


def taught_logits(task: str, spec: TaskSpec, values: np.ndarray, prediction: Prediction) -> dict[str, Any]:
    """The logits of one example as a student's rows carry them; none for types that cannot learn from them."""
    if not hasattr(spec.task, "soft"):
        return {}
    if isinstance(prediction, Value):  # in the units of the labels, which any student understands
        return {task: prediction.value}
    rows = values[0] if spec.task.layout == "joint" else values
    return {task: {"labels": spec.facts["labels"], "values": np.round(rows.astype(float), 5).tolist()}}


def own_label(
    task: str, spec: TaskSpec, example: Example, units: np.ndarray, *, alone: bool
) -> dict[str, dict[str, Any]]:
    """The label that a row has itself, under the task's name or (where one task is predicted *alone*) as `label`: a
    student learns from it and from the logits, not from what the teacher took for the label. Raises BraidError for one
    that does not fit the row."""
    key = spec.labelled.hard_key
    label = example.labels.get(task, example.labels.get("label", example.labels.get("labels")) if alone else None)
    label = label.get(key) if isinstance(label, Mapping) else label
    if label is None or not key:
        return {}
    if key == "tags":  # spans too, which become one tag a unit, as the logits are
        try:
            label = spec.labelled.gold(label, example, units, spec.facts)
        except LabelError as error:
            place = f"{example.place}: " if example.place else ""
            raise BraidError(f"{place}task {task!r}: the row's own label cannot be kept: {error}") from error
    return {task: {key: label}}
