"""What a task type is. One file of this folder owns a type: config, targets, head, loss, decoding, metrics.

Shape legend: T tokens, B rows, R rows that a head is asked for, W units (words) of those rows, D hidden
size, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from braid.config.families import TaskConfig
from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.metrics.meter import Meter as Meter

Facts = dict[str, Any]
"""What a task learned from its training labels (label inventory, scale, ...). JSON; saved in task.json."""

Target = dict[str, np.ndarray]
"""A row's target: named 1-D arrays (int64 or float32) of any length."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the encoder gives a head: *last* [T, D]; *layers*: every layer's [T, D], where a head asked for them."""

    last: Tensor
    batch: Batch
    layers: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What a task says of one text. Each task type defines its own; labels are strings, never ids."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return asdict(self)


class Head(nn.Module, ABC):
    """The module of one task on top of the shared encoder."""

    @abstractmethod
    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits of the batch's rows `rows` [R], flat: [R, C] for one answer a row, [W, C] for one a unit."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """The *sum* of the loss over `targets` (never a mean), a scalar. It is divided by the global count."""

    @abstractmethod
    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A `Prediction` per example. *logits*: float32, [1, C] or [U, C] per example (windows already merged);
        *units* [U, 2]: character spans of each example's units."""


class Task(TaskConfig, ABC):
    """Base of all task types; an instance is the config itself."""

    per: ClassVar[Literal["row", "unit"]] = "row"
    """What one logit vector stands for: a whole row, or one unit (word or character) of it."""

    merges_windows: ClassVar[bool] = False
    """Whether long texts are read in overlapping windows and merged; else they are truncated, counted."""

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "mse", "perplexity"})

    main_metric: ClassVar[str] = ""
    """The first metric of the type."""

    @property
    def unit_kind(self) -> Literal["none", "words", "characters", "auto"]:
        """Which units of the text this task reads. `auto`: `learn` decides from the data (`facts["units"]`)."""
        return "none"

    @abstractmethod
    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """What the head must know of the training data; *labels* are the non-missing ones, *examples* theirs.

        Raises LabelError when there is nothing to learn from (no label at all, one class only, ...)."""

    @abstractmethod
    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """A label as target of one window. None: this window carries none (a later window of a truncating task).

        Raises LabelError when the label does not fit the type, the inventory or the input."""

    @abstractmethod
    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> Any:
        """A label in the form that this task's meter compares predictions with."""

    @abstractmethod
    def head(self, facts: Facts, hidden_size: int) -> Head:
        """A fresh head."""

    @abstractmethod
    def meter(self, facts: Facts) -> Meter:
        """A fresh meter."""

    def count(self, target: Target) -> int:
        """What one row adds to the divisor of the loss. Default: 1 a row."""
        return 1

    @classmethod
    @abstractmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """`n` small native rows with a `label` each, for the contract suite: distinct texts a tiny model can learn."""

    @abstractmethod
    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits that decode to exactly this target, for the contract suite."""

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The labels that one row holds, as strings, for `braid check`'s inventory."""
        return [str(label)]

    def check_label(self, label: Any, example: Example) -> list[str]:
        """What is odd about a label (illegal tag sequence, ...), for `braid check`. Errors raise in `encode`."""
        return []

    def best(self, facts: Facts) -> str:
        """The metric that "best" means for this task, which may depend on its labels (entities or plain tags)."""
        return self.metric or self.main_metric
