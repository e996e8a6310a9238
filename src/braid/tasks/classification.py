"""classification: one label of several for each text or pair (sentiment, topic, inference).

Shape legend: T tokens, R rows that carry a label, D hidden size, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, canonical, id_of, inventory
from braid.errors import LabelError, did_you_mean
from braid.metrics.classification import ClassificationMeter
from braid.nn.pooling import Pooling, RowFeatures
from braid.nn.probabilities import softmax
from braid.tasks.base import Facts, Head, Hidden, Prediction, Target, Task


@dataclass(frozen=True)
class Label(Prediction):
    """The most probable label, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class Classification(Task):
    """One label of several for each text or pair."""

    type: Literal["classification"] = "classification"
    main_metric: ClassVar[str] = "accuracy"

    labels: list[str] | None = None
    """All labels, in their order. None: those of the training data, sorted."""

    pooling: Pooling = "cls"
    """How the tokens of a row become one vector."""

    pooler: bool = True
    """A dense layer with tanh between pooling and classifier, as BERT has it (freshly initialised)."""

    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each label's rows in the loss, scaled to a mean of 1 over the training rows. `balanced`: inverse to
    the label's frequency, as in scikit-learn. Labels that a mapping leaves out weigh as 1 before scaling."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all labels (Szegedy et al. 2016)."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_strings(cls, value: Any) -> Any:
        return as_strings(value) if isinstance(value, list | tuple) else value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights_by_string(cls, value: Any) -> Any:
        return dict(zip(as_strings(value), value.values(), strict=True)) if isinstance(value, dict) else value

    @field_validator("class_weights")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if isinstance(value, dict) and not all(weight > 0 for weight in value.values()):
            raise ValueError("class weights must be greater than 0")
        return value

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels`: the inventory; `weights`: one for each label, where `class_weights` asks for them.

        Raises LabelError for fewer than two labels, and for one that `labels:` lacks."""
        counts = Counter(canonical(label) for label in labels)
        if not counts:
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        names = inventory(counts, self.labels)
        if len(names) < 2:
            raise LabelError(f"all training rows have the label {names[0]!r}; a classifier needs at least two labels")
        facts: Facts = {"labels": names}
        if self.class_weights is not None:
            facts["weights"] = self._scaled_weights(names, counts)
        return facts

    def _scaled_weights(self, names: Sequence[str], counts: Mapping[str, int]) -> list[float]:
        assert self.class_weights is not None
        if self.class_weights == "balanced":
            raw = {name: 1 / counts[name] for name in names if counts.get(name)}
        else:
            for name in self.class_weights:
                if name not in names:
                    raise LabelError(f"class_weights: there is no label {name!r}: {did_you_mean(name, names)}")
            raw = {name: self.class_weights.get(name, 1.0) for name in names}
        total = sum(counts.values())
        mean = sum(raw[name] * count for name, count in counts.items()) / total
        # A label without training rows never meets its weight but in dev losses: there it is an ordinary row.
        return [raw[name] / mean if name in raw else 1.0 for name in names]

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`label` [1]: the label's place in the inventory. Only the first window of a text carries it."""
        number = id_of(canonical(label), facts["labels"])
        return {"label": np.array([number], dtype=np.int64)} if window.number == 0 else None

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> str:
        """The label as a string."""
        return canonical(label)

    def head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear."""
        return ClassificationHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> ClassificationMeter:
        """accuracy, macro_f1, micro_f1, mcc."""
        return ClassificationMeter(facts["labels"])

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short reviews whose one adjective tells the label."""
        words = {"good": "pos", "poor": "neg", "fine": "pos", "awful": "neg"}
        things = ("film", "book", "song", "meal", "hotel", "phone", "trip", "show")
        pairs = list(words.items())
        return [{"text": f"the {things[i % 8]} {i} was {pairs[i % 4][0]}", "label": pairs[i % 4][1]} for i in range(n)]

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits [1, C] that are large at the label."""
        logits_1C = np.zeros((1, len(facts["labels"])), dtype=np.float32)
        logits_1C[0, target["label"][0]] = 50.0
        return logits_1C

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The label as a string."""
        return [canonical(label)]


class ClassificationHead(Head):
    """Row features and one linear layer; cross-entropy."""

    def __init__(self, task: Classification, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.label_smoothing = task.label_smoothing
        self.features = RowFeatures(task.pooling, hidden_size, dense=task.pooler, dropout=task.dropout)
        self.classifier = nn.Linear(hidden_size, len(self.labels))
        weights = facts.get("weights")
        self.weight_C: Tensor | None
        self.register_buffer("weight_C", None if weights is None else torch.tensor(weights), persistent=False)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [R, C]."""
        logits_RC: Tensor = self.classifier(self.features(hidden.last, hidden.batch, rows))
        return logits_RC

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy in fp32, each row's times its class weight, summed."""
        return F.cross_entropy(
            logits.float(),
            targets.values["label"],
            weight=self.weight_C,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Label]:
        """The most probable label of each example; of equal ones the first in the inventory."""
        return [self._label(softmax(row_1C[0])) for row_1C in logits]

    def _label(self, probabilities_C: np.ndarray) -> Label:
        best = self.labels[int(probabilities_C.argmax())]
        return Label(best, dict(zip(self.labels, probabilities_C.tolist(), strict=True)))
