"""What a task type is. One file of this folder owns a type: config, targets, head, loss, decoding, metrics.

Shape legend: T tokens, B rows, R rows that a head is asked for, W units (words) of those rows, D hidden
size, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from braid.config.families import TaskConfig
from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.data.tokens import Tokenizer
from braid.data.windows import Layout, UnitKind
from braid.decoding.base import Decoder, Intake, Need, Together
from braid.decoding.base import Prediction as Prediction
from braid.errors import LabelError, Place
from braid.metrics.meter import Meter as Meter
from braid.nn.scalar_mix import ScalarMix

Facts = dict[str, Any]
"""What a task learned from its training labels (label inventory, scale, ...). JSON; saved in task.json."""

Target = dict[str, np.ndarray]
"""A row's target: named 1-D arrays (int64 or float32) of any length."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the encoder gives a head: *last* [T, D]; *layers*: every layer's [T, D], where a head asked for them;
    *words* [V, M]: the encoder's word embeddings; *targets*: those of the head's own task, where the batch has any."""

    last: Tensor
    batch: Batch
    layers: tuple[Tensor, ...] = ()
    words: Tensor | None = None
    targets: Targets | None = None


class Head(nn.Module, ABC):
    """The module of one task on top of the shared encoder."""

    tunes: ClassVar[bool] = False
    """Whether `tune` sets something from the dev data."""

    def __init__(self) -> None:
        super().__init__()
        self.mix: ScalarMix | None = None
        """With `mix_layers`: how the encoder's layers become the hidden states that this head sees."""

    @abstractmethod
    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits of the batch's rows `rows` [R], flat: [R, C] for one answer a row, [W, C] for one a unit, ..."""

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Start from those of a checkpoint's pre-training heads that are of this kind and size; see
        `braid.encoders.base.Encoder.pretraining`. Default: none are."""
        return None

    def mixed(self, hidden: Hidden) -> Hidden:
        """The hidden states as this head sees them."""
        return hidden if self.mix is None else replace(hidden, last=self.mix(hidden.layers))

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """The batch's tokens [N] whose last hidden states `forward` reads for these rows; None, the default: any. The
        encoder may leave out of its last layer what nobody reads. (*hidden* has no states yet.)"""
        return None

    def per_token(self) -> tuple[str, ...]:
        """Names in its state of what has a row for each token of the encoder's vocabulary. Default: nothing has."""
        return ()

    def sizes(self, batch: Batch, rows: Tensor) -> Tensor:
        """How many vectors of `forward`'s logits belong to each of the rows: [R], int64. Default: one."""
        return torch.ones_like(rows)

    def answers(self, hidden: Hidden, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What `decode` reads, and how much of it belongs to each row: the logits and their sizes. A head that
        generates gives what it generated."""
        return self(hidden, rows), self.sizes(hidden.batch, rows)

    def soft_targets(self, hidden: Hidden, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As `answers`, but what a student with the same task learns from. Default: the logits."""
        return self(hidden, rows), self.sizes(hidden.batch, rows)

    @abstractmethod
    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """The *sum* of the loss over `targets` (never a mean), a scalar. It is divided by the global count."""

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """How far two sets of logits for the same targets are from each other, by what they say, as
        `braid.nn.divergence` has it: a *sum* over `targets`, as the loss is, and divided by the same count. Asked for
        only where the task is `comparable`."""
        raise NotImplementedError

    def decoding(self) -> Decoder:
        """What makes predictions of the logits, as the head's parameters have it now. A head that has none decodes by a
        `decode` of its own, and is exported with its weights."""
        raise NotImplementedError(f"{type(self).__name__} needs either `decoding` or `decode`")

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A `Prediction` per example; see `Decoder.decode`."""
        return self.decoding().decode(logits, examples, units)

    def tune(
        self,
        logits: Sequence[np.ndarray],
        golds: Sequence[Any],
        examples: Sequence[Example],
        units: Sequence[np.ndarray],
    ) -> None:
        """Set what is not learned by gradients (thresholds; buffers of the head, saved with it) so that dev labels
        come out best, as `Decoder.tuned` does. Called before each evaluation on dev where `tunes`; `golds` as the meter
        gets them."""
        self.take(self.decoding().tuned(logits, golds, examples, units))

    def take(self, tuned: Any) -> None:
        """Keep in the head's buffers what was set in a decoder of its own. Default: nothing is ever set."""
        return None


class Task(TaskConfig, ABC):
    """Base of all task types; an instance is the config itself.

    Either a `LabelledTask`, whose rows carry labels, or one that makes its targets from text (`braid.tasks.text`)."""

    layout: ClassVar[Layout] = "joint"
    """How an input becomes token rows."""

    together: ClassVar[Together] = "row"
    """What must stand in one batch for the loss: nothing but the row, all rows of an example, or all rows of all
    examples with one query."""

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "mse", "perplexity", "bits_per_character"})

    main_metric: ClassVar[str] = ""
    """The first metric of the type."""

    hub_task: ClassVar[str] = ""
    """What the Hugging Face hub calls such tasks; empty: it has no word for them."""

    @property
    def unit_kind(self) -> UnitKind | Literal["auto"]:
        """Which units of the input this task reads. `auto`: `learn` decides from the data (`facts["units"]`)."""
        return "none"

    def reads(self, facts: Facts) -> tuple[Layout, UnitKind]:
        """How rows must be made for this task."""
        kind = self.unit_kind
        return self.layout, facts["units"] if kind == "auto" else kind

    def translation(self, theirs: Facts, ours: Facts) -> Callable[[Tensor], Tensor]:
        """What makes of a teacher's soft targets those of this task, which has learned other facts. Default: the type
        cannot learn from any.

        Raises LabelError where what the teacher says would mean something else here."""
        raise LabelError(f"a {self.type} task learns nothing from a teacher's logits")

    @abstractmethod
    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """A fresh head."""

    @abstractmethod
    def meter(self, facts: Facts) -> Meter:
        """A fresh meter."""

    def count(self, target: Target) -> int:
        """What one row adds to the divisor of the loss. Default: 1 a row."""
        return 1

    def resized(self, facts: Facts, vocab_size: int) -> Facts:
        """The facts for an encoder whose vocabulary got another size. Default: the same."""
        return facts

    def best(self, facts: Facts) -> str:
        """The metric that "best" means for this task, which may depend on its labels (entities or plain tags)."""
        return self.metric or self.main_metric


class LabelledTask(Task, ABC):
    """Base of the types whose rows carry labels."""

    bears_changes: ClassVar[bool] = False
    """Whether it can be joined by `&` to a task that changes its input, such as one that masks tokens."""

    document: ClassVar[Literal["row", "text", "pair"]] = "row"
    """Which part of an input several rows may share, as questions share what they are asked of; `row`: none. Rows that
    share it are never divided among folds."""

    hard_key: ClassVar[str] = ""
    """Where the label stands beside a teacher's opinion; empty for types that cannot learn from one."""

    @property
    def default_label(self) -> Any:
        """The label of a row of this task's data that has none. None: such a row stays without."""
        return None

    @property
    def need(self) -> Need | None:
        """What an input must have beside its text. Default: nothing."""
        return None

    def fits(self, example: Example) -> str | None:
        """Why this input cannot be read by the task ("it needs a `pair`"); None: it can."""
        return None if self.need is None else self.need.unfit(example)

    def intake(self, facts: Facts) -> Intake:
        """Which inputs it reads, and how."""
        return Intake(*self.reads(facts), self.together, self.need)

    @abstractmethod
    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """What the head must know of the training data; *labels* are the non-missing ones, *examples* theirs.

        Raises LabelError when there is nothing to learn from (no label at all, one class only, ...)."""

    def label_texts(self, label: Any) -> list[str]:
        """Text in a label that a vocabulary of the encoder should hold. Default: none."""
        return []

    def with_tokenizer(self, facts: Facts, tokenizer: Tokenizer) -> Facts:
        """What `learn` found, completed by what hangs on the encoder's tokenizer. Default: nothing does."""
        return facts

    @abstractmethod
    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """A label as target of one window. None: this window carries none (a later window of a truncating task).

        Raises LabelError when the label does not fit the type, the inventory or the input; SkippedLabelError for one
        that is to be left out and counted."""

    @abstractmethod
    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> Any:
        """A label in the form that this task's meter compares predictions with. Raises as `encode` does, but never
        for a label that only the training data lacks: that is counted as an error."""

    @classmethod
    @abstractmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """`n` small native rows with a `label` each, for the contract suite: distinct texts a tiny model can learn."""

    @abstractmethod
    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits that decode to exactly this target, for the contract suite."""

    def stratum(self, label: Any) -> str | None:
        """What the folds of a cross-validation should have equal shares of; None: there is nothing of that kind."""
        return None

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The labels that one row holds, as strings, for `braid check`'s inventory."""
        return [str(label)]

    def check_label(self, label: Any, example: Example, facts: Facts | None = None) -> list[str]:
        """What is odd about a label (illegal tag sequence, ...), for `braid check`. Errors raise in `encode`."""
        return []

    def remarks(self, rows: Iterable[tuple[Any, Example]]) -> dict[str, list[Place | None]]:
        """What is worth knowing of the labels of one split taken together (label and example of each row): what it is,
        and where."""
        return {}
