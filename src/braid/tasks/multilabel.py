"""multilabel: any number of labels for each text or pair (topics, emotions), none included.

Shape legend: R rows that carry labels, n dev rows, D hidden size, C labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, canonical, id_of, inventory
from braid.data.soft_labels import hard_label, names_of, teacher_logits
from braid.decoding.multilabel import Labels as Labels
from braid.decoding.multilabel import MultilabelDecoder
from braid.errors import LabelError
from braid.metrics.multilabel import MultilabelMeter
from braid.nn.divergence import binary_divergence
from braid.nn.linear import Linear
from braid.nn.losses import binary_loss, soft_binary_loss
from braid.tasks.base import Facts, Head, Hidden, Target
from braid.tasks.row import RowTask
from braid.tasks.soft import Soft, Translate, by_label, taught, teacher_target


class Multilabel(RowTask):
    """Any number of labels for each text or pair."""

    type: Literal["multilabel"] = "multilabel"
    hub_task: ClassVar[str] = "text-classification"
    main_metric: ClassVar[str] = "micro_f1"
    hard_key: ClassVar[str] = "labels"
    comparable: ClassVar[bool] = True

    labels: list[str] | None = None
    """All labels, in their order. None: those of the training data, sorted."""

    separator: str | None = None
    """What divides labels that a file has in one cell (`a|b`). None: a cell is one label."""

    threshold: float | Literal["tuned"] = "tuned"
    """Probability from which on a label counts. `tuned`: one for each label, by its F1 on dev (0.5 without dev)."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal`: what is already right counts less (Lin et al. 2017), for rare labels."""

    gamma: float = Field(default=2.0, ge=0)
    """How much less: the exponent of the focal loss."""

    class_weights: Literal["balanced"] | None = None
    """`balanced`: rows with a label count as much in its loss as those without it, however rare it is."""

    soft: Soft = Soft()
    """How rows with a teacher's logits or probabilities are learned from."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_strings(cls, value: Any) -> Any:
        return as_strings(value) if isinstance(value, list | tuple) else value

    @field_validator("threshold")
    @classmethod
    def _fraction(cls, value: Any) -> Any:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("a threshold is a probability between 0 and 1")
        return value

    def read(self, label: Any) -> list[str] | None:
        """The labels of one row; None where it has only a teacher's opinion. Raises LabelError."""
        given = hard_label(label, self.hard_key)
        if given is None:
            return None
        if isinstance(given, str) and self.separator is not None:
            given = [part for part in given.split(self.separator) if part.strip()]
        names = [canonical(name) for name in (given if isinstance(given, list | tuple) else [given])]
        if len(set(names)) < len(names):
            raise LabelError(f"label {Counter(names).most_common(1)[0][0]!r} stands twice in one row")
        return names

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels`: the inventory; `soft`: whether rows carry a teacher's opinion; `weights`: of the rows that have
        each label, where `class_weights` asks for them.

        Raises LabelError where no row has any label."""
        counts: Counter[str] = Counter()
        taught_names: set[str] = set()
        rows = 0
        for label in labels:
            counts.update(self.read(label) or [])
            taught_names.update(names_of(label, independent=True))
            rows += 1
        if not counts and not taught_names:
            raise LabelError("no training row has any label; check the name of the label column (`data.columns`)")
        names = inventory({*counts, *taught_names}, self.labels)
        facts: Facts = {"labels": names, "soft": bool(taught_names)}
        if self.class_weights is not None:
            facts["weights"] = [max(rows - counts[name], 1) / max(counts[name], 1) for name in names]
        return facts

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`labels` [C]: 1 for those of the row, or [0] where only a teacher speaks; `teacher` [C]. Only the first
        window of a text carries them."""
        names = self.read(label)
        marks_C = np.zeros(0 if names is None else len(facts["labels"]), dtype=np.float32)
        marks_C[[id_of(name, facts["labels"]) for name in names or ()]] = 1
        return {"labels": marks_C, **teacher_target(label, facts, independent=True)} if window.number == 0 else None

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> list[str]:
        """The labels; where there is only a teacher, those that it finds likelier than not."""
        names = self.read(label)
        if names is not None:
            return names
        logits_C = teacher_logits(label, facts["labels"], independent=True)
        assert logits_C is not None
        return [name for name, logit in zip(facts["labels"], logits_C.tolist(), strict=True) if logit > 0]

    def translation(self, theirs: Facts, ours: Facts) -> Translate:
        """By the labels' names."""
        return by_label(theirs, ours)

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear, a threshold for each label."""
        return MultilabelHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> MultilabelMeter:
        """micro_f1, macro_f1, map, subset_accuracy."""
        return MultilabelMeter(facts["labels"])

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short reviews; the words in them tell the labels."""
        sets = ((), ("food",), ("price",), ("food", "price"), ("room",), ("food", "room"))
        return [
            {"text": f"visit {k}: {' and '.join(sets[k % 6]) or 'nothing'} was good", "label": list(sets[k % 6])}
            for k in range(n)
        ]

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits [1, C], large and of the right sign."""
        return 50.0 * (2.0 * target["labels"].astype(np.float32) - 1.0).reshape(1, -1)

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The labels of the row."""
        return self.read(label) or []


class MultilabelHead(Head):
    """Row features and one linear layer; binary cross-entropy; thresholds that dev data set."""

    threshold_C: Tensor

    def __init__(self, task: Multilabel, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.task = task
        self.features = task.features(hidden_size)
        self.classifier = Linear(hidden_size, len(self.labels))
        start = task.threshold if isinstance(task.threshold, float) else 0.5
        self.register_buffer("threshold_C", torch.full((len(self.labels),), start))
        weights = facts.get("weights")
        self.weight_C: Tensor | None
        self.register_buffer("weight_C", None if weights is None else torch.tensor(weights), persistent=False)
        self.tunes = task.threshold == "tuned"  # type: ignore[misc]

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [R, C]."""
        logits_RC: Tensor = self.classifier(self.features(hidden.last, hidden.batch, rows))
        return logits_RC

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Binary cross-entropy (or focal loss) in fp32, the mean over labels, and what the teacher says; summed over
        rows."""
        has_hard_R = targets.cu["labels"].diff() > 0
        marks_RC = torch.zeros(logits.shape, device=logits.device)
        marks_RC[has_hard_R] = targets.values["labels"].view(-1, logits.shape[1])
        sizes_R = torch.ones_like(targets.rows)
        weight_R, soft = taught(logits, targets, has_hard_R, sizes_R, self.task.soft, soft_binary_loss)
        hard_R = binary_loss(logits, marks_RC, kind=self.task.loss, gamma=self.task.gamma, weight_C=self.weight_C)
        return (hard_R * weight_R * has_hard_R).sum() + soft

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probability of every label, the mean over labels; summed over rows."""
        return binary_divergence(first, second).mean(dim=1).sum()

    def take(self, tuned: MultilabelDecoder) -> None:
        """The thresholds."""
        self.threshold_C.copy_(torch.from_numpy(tuned.threshold_C))

    def decoding(self) -> MultilabelDecoder:
        """By sigmoid and thresholds."""
        return MultilabelDecoder(self.labels, self.threshold_C.float().cpu().numpy(), from_dev=self.tunes)
