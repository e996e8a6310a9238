"""regression: one number for each text or pair (similarity grades, ratings).

Shape legend: T tokens, R rows that carry a label, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.soft_labels import hard_label
from braid.decoding.regression import RegressionDecoder
from braid.decoding.regression import Value as Value
from braid.errors import LabelError
from braid.metrics.regression import RegressionMeter
from braid.nn.divergence import number_divergence
from braid.nn.linear import Linear
from braid.tasks.base import Facts, Head, Hidden, Target
from braid.tasks.row import RowTask
from braid.tasks.soft import Share, Translate, share_of


class Regression(RowTask):
    """One number for each text or pair."""

    type: Literal["regression"] = "regression"
    hub_task: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "pearson"
    comparable: ClassVar[bool] = True
    hard_key: ClassVar[str] = "value"

    scale: bool = True
    """Whether the head learns labels less their training mean, in units of their standard deviation. So a loss of 1 is
    what the mean alone would get, whatever the labels' units, and other tasks keep their share. Predictions are
    in the labels' own units either way."""

    soft: Share = Share()
    """How much a teacher's number counts beside a row's own."""

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`mean`, `std`: what the head's output is scaled by (0 and 1 with `scale: false`); `soft`, where rows carry a
        teacher's numbers."""
        given = list(labels)
        values = np.array([number(label) for label in given], dtype=np.float64)
        if not len(values):
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        soft: Facts = {"soft": True} if any(_teacher(label) is not None for label in given) else {}
        if not self.scale:
            return {"mean": 0.0, "std": 1.0, **soft}
        constant = bool((values == values[0]).all())
        return {"mean": float(values.mean()), "std": 1.0 if constant else float(values.std()), **soft}

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`value` [1], scaled; `teacher` [1], likewise, or [0], where rows have some. Only the first window of a text
        carries them."""
        if window.number > 0:
            return None
        given = {"value": [number(label)]}
        if facts.get("soft"):
            told = _teacher(label)
            given["teacher"] = [] if told is None else [_finite(told)]
        return {key: ((np.array(x) - facts["mean"]) / facts["std"]).astype(np.float32) for key, x in given.items()}

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> float:
        """The number."""
        return number(label)

    def translation(self, theirs: Facts, ours: Facts) -> Translate:
        """From the teacher's scale to ours."""
        factor = theirs["std"] / ours["std"]
        shift = (theirs["mean"] - ours["mean"]) / ours["std"]
        return lambda values_R1: values_R1.float() * factor + shift

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear."""
        return RegressionHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> RegressionMeter:
        """pearson, spearman, mse."""
        return RegressionMeter()

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short ratings in halves of a star."""
        grades = {"awful": 0.5, "poor": 1.5, "fair": 2.5, "good": 4.0, "superb": 5.0}
        things = ("film", "book", "song", "meal", "hotel", "phone", "trip")
        pairs = list(grades.items())
        return [{"text": f"the {things[i % 7]} {i} was {pairs[i % 5][0]}", "label": pairs[i % 5][1]} for i in range(n)]

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """The scaled value itself [1, 1]."""
        return target["value"].astype(np.float32).reshape(1, 1)


class RegressionHead(Head):
    """Row features and one output; squared error of the scaled value."""

    def __init__(self, task: Regression, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.soft = task.soft
        self.mean, self.std = float(facts["mean"]), float(facts["std"])
        self.features = task.features(hidden_size)
        self.output = Linear(hidden_size, 1)

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Scaled values [R, 1]."""
        values_R1: Tensor = self.output(self.features(hidden.last, hidden.batch, rows))
        return values_R1

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Squared errors in fp32, and those from what the teacher says, summed."""
        values_R = logits.float().squeeze(1)
        hard_R = (values_R - targets.values["value"]).square()
        if "teacher" not in targets.values:
            return hard_R.sum()
        has_teacher_R = targets.cu["teacher"].diff() > 0
        share_R = share_of(self.soft.alpha, targets, values_R) * has_teacher_R
        soft_M = (values_R[has_teacher_R] - targets.values["teacher"]).square()
        return (hard_R * (1 - share_R)).sum() + (soft_M * share_R[has_teacher_R]).sum()

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Squared differences of the scaled values, summed."""
        return number_divergence(first, second).sum()

    def decoding(self) -> RegressionDecoder:
        """Values in the units of the labels."""
        return RegressionDecoder(self.mean, self.std)


def number(label: Any) -> float:
    """A label as a finite number. Raises LabelError for anything else; numbers written as strings are read, and so
    is the value of a prediction (`{"value": 3.5}`), which makes a teacher's predictions labels. Where there is no
    number but a teacher's (`{"logits": 3.2}`), that is it."""
    hard = hard_label(label, Regression.hard_key)
    return _finite(_teacher(label) if hard is None else hard)


def _teacher(label: Any) -> Any:
    """What a teacher says, where it does."""
    return label.get("logits") if isinstance(label, Mapping) else None


def _finite(label: Any) -> float:
    if isinstance(label, np.generic):
        label = label.item()
    try:
        value = None if isinstance(label, bool) or not isinstance(label, int | float | str) else float(label)
    except (ValueError, OverflowError):
        value = None
    if value is None:
        raise LabelError(f"the label is {label!r:.80}; expected a number (for names of classes use `classification`)")
    if not math.isfinite(value):
        raise LabelError(f"the label is {label}; expected a finite number, or none where it is unknown")
    return value
