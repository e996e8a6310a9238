"""classification: one label of several for each text or pair (sentiment, topic, inference).

Shape legend: T tokens, R rows that carry a label, D hidden size, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, canonical, id_of, inventory
from braid.data.soft_labels import hard_label, is_soft, names_of, teacher_logits
from braid.decoding.base import Need
from braid.decoding.classification import ClassificationDecoder
from braid.decoding.classification import Label as Label
from braid.errors import LabelError, did_you_mean
from braid.metrics.classification import ClassificationMeter
from braid.nn.divergence import class_divergence
from braid.nn.linear import Linear
from braid.nn.losses import IGNORED, class_loss, soft_loss
from braid.nn.pooling import RowFeatures
from braid.nn.san import San
from braid.tasks.base import Facts, Head, Hidden, Target
from braid.tasks.row import RowTask
from braid.tasks.soft import Soft, Translate, by_label, taught, teacher_target


class Classification(RowTask):
    """One label of several for each text or pair."""

    type: Literal["classification"] = "classification"
    hub_task: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "accuracy"
    hard_key: ClassVar[str] = "label"
    comparable: ClassVar[bool] = True

    labels: list[str] | None = None
    """All labels, in their order. None: those of the training data, sorted."""

    head: Literal["linear", "san"] = "linear"
    """`linear`: pooled features and one linear layer. `san`: MT-DNN's stochastic answer network, for pairs: it reads
    text and pair again in several steps."""

    steps: int = Field(default=5, ge=1)
    """Steps of reasoning of `head: san`."""

    prediction_dropout: float = Field(default=0.1, ge=0, lt=1)
    """How often `head: san` leaves the prediction of a step out of its average while training."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal`: rows that are already right count less (Lin et al. 2017), for unequal classes."""

    gamma: float = Field(default=2.0, ge=0)
    """How much less: the exponent of the focal loss."""

    soft: Soft = Soft()
    """How rows with a teacher's logits or probabilities are learned from."""

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

    @property
    def need(self) -> Need | None:
        """With `head: san` a pair."""
        return Need("pair", "it needs a `pair`, which `head: san` compares with `text`") if self.head == "san" else None

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels`: the inventory; `soft`: whether rows carry a teacher's opinion; `weights`: one for each label,
        where `class_weights` asks for them.

        Raises LabelError for fewer than two labels, and for one that `labels:` lacks."""
        counts: Counter[str] = Counter()
        taught: set[str] = set()
        for label in labels:
            hard = hard_label(label, self.hard_key)
            counts.update([] if hard is None and is_soft(label) else [canonical(hard)])
            taught.update(names_of(label))
        if not counts and not taught:
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        names = inventory({*counts, *taught}, self.labels)
        if len(names) < 2:
            raise LabelError(f"all training rows have the label {names[0]!r}; a classifier needs at least two labels")
        facts: Facts = {"labels": names, "soft": bool(taught)}
        if self.class_weights is not None:
            facts["weights"] = self._scaled_weights(names, counts)
        return facts

    def stratum(self, label: Any) -> str | None:
        """The label itself; a teacher's opinion alone has none."""
        hard = hard_label(label, self.hard_key)
        return None if hard is None else canonical(hard)

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
        """`label` [1]: the label's place in the inventory; `teacher` [C]: logits, where rows have some. Only the first
        window of a text carries them."""
        hard = hard_label(label, self.hard_key)
        number = IGNORED if hard is None else id_of(canonical(hard), facts["labels"])
        target = {"label": np.array([number], dtype=np.int64), **teacher_target(label, facts)}
        return target if window.number == 0 else None

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> str:
        """The label as a string; where there is only a teacher, the likeliest of its."""
        hard = hard_label(label, self.hard_key)
        if hard is not None:
            return canonical(hard)
        logits = teacher_logits(label, facts["labels"])
        assert logits is not None
        return str(facts["labels"][int(logits.argmax())])

    def translation(self, theirs: Facts, ours: Facts) -> Translate:
        """By the labels' names."""
        return by_label(theirs, ours)

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear; or a stochastic answer network."""
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
        hard = hard_label(label, self.hard_key)
        return [] if hard is None else [canonical(hard)]


class ClassificationHead(Head):
    """Row features and one linear layer, or a stochastic answer network; cross-entropy."""

    def __init__(self, task: Classification, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.task = task
        self.features: RowFeatures | None = None
        self.classifier: nn.Module
        if task.head == "san":
            self.classifier = San(
                hidden_size,
                len(self.labels),
                steps=task.steps,
                dropout=task.dropout,
                prediction_dropout=task.prediction_dropout,
            )
        else:
            self.features = task.features(hidden_size)
            self.classifier = Linear(hidden_size, len(self.labels))
        weights = facts.get("weights")
        self.weight_C: Tensor | None
        self.register_buffer("weight_C", None if weights is None else torch.tensor(weights), persistent=False)

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads; `san` reads all."""
        return None if self.features is None else self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [R, C]; those of `san` are log-probabilities."""
        if self.features is None:
            read_RC: Tensor = self.classifier(hidden.last, hidden.batch, rows)
            return read_RC
        logits_RC: Tensor = self.classifier(self.features(hidden.last, hidden.batch, rows))
        return logits_RC

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy (or focal loss) in fp32, each row's times its class weight, and what the teacher says;
        summed."""
        label_R, task = targets.values["label"], self.task
        ones_R = torch.ones_like(label_R)
        weight_R, soft = taught(logits, targets, label_R != IGNORED, ones_R, task.soft, soft_loss)
        hard_R = class_loss(
            logits,
            label_R,
            kind=task.loss,
            gamma=task.gamma,
            weight_C=self.weight_C,
            label_smoothing=task.label_smoothing,
        )
        return (hard_R * weight_R).sum() + soft

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of all labels, summed over rows."""
        return class_divergence(first, second).sum()

    def decoding(self) -> ClassificationDecoder:
        """By softmax."""
        return ClassificationDecoder(self.labels)
