"""What task types share that make their own targets from text, as pre-training does.

Shape legend: T tokens of the batch, R rows, N predictions, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import Targets
from braid.data.changes import Change
from braid.data.corpus.rows import Fill, Pairing
from braid.data.example import Example
from braid.data.masking import Vocabulary
from braid.tasks.base import Facts, Head, Hidden, Target, Task


@dataclass(frozen=True, eq=False)
class TextFacts:
    """What such a task is told of tokenizer and encoder. *sees*: as `braid.encoders.base.Sight`; *names*: special
    tokens that the tokenizer lacks are absent from *vocabulary* (-1); *activation*, *norm_eps*: of the encoder."""

    vocabulary: Vocabulary
    vocab_size: int
    embedding_size: int
    sees: Literal["both", "left", "apart"]
    activation: str = "gelu"
    norm_eps: float = 1e-12


class TextTask(Task, ABC):
    """Base of the types that make their own targets from the text. Their rows need no labels."""

    needs_data: ClassVar[bool] = False
    main_metric: ClassVar[str] = "loss"

    pairing: ClassVar[Pairing] = "none"
    """Whether its rows are pairs, and which."""

    changes_input: ClassVar[bool] = False
    """Whether what the encoder reads is not what stands in the text."""

    default_fill: ClassVar[Fill] = "document"

    fill: Literal["document", "full", "text"] | None = None
    """What a row holds. `document`: as many whole sentences of one document as it has room for (BERT). `full`: the
    same, on into the next document (RoBERTa). `text`: one document, cut where too long. None: as another task of the
    group says, or the type's paper."""

    short_rows: float | None = Field(default=None, ge=0, lt=1)
    """Share of rows made shorter than they could be, at random (BERT: 0.1). None: as another task of the group says, or
    none."""

    words: Literal["none", "jieba"] | None = None
    """Who says where words begin, for masking whole words: the vocabulary alone, or jieba (Chinese). None: as another
    task of the group says, or the vocabulary."""

    @abstractmethod
    def learn_text(self, text: TextFacts) -> Facts:
        """What the head must know. Raises LabelError where this encoder or tokenizer cannot learn it, saying why."""

    @abstractmethod
    def change(self, text: TextFacts) -> Change:
        """What it does to a row, and the target that it makes."""

    def resized(self, facts: Facts, vocab_size: int) -> Facts:
        """With the new size."""
        return {**facts, "vocab_size": vocab_size} if "vocab_size" in facts else facts

    def count(self, target: Target) -> int:
        """Predictions of one row."""
        return len(target["labels"])


class TextHead(Head, ABC):
    """Base of their heads. What they answer is, for each prediction, its cross-entropy in nats and whether it was
    right: [N, 2]; so the vocabulary's logits need not be kept."""

    def per_token(self) -> tuple[str, ...]:
        """The output layer's vectors, where they are its own, and biases."""
        names = ("predictor.words", "predictor.bias")
        return tuple(name for name, _ in self.named_parameters() if name in names)

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """The cross-entropies' sum."""
        return logits[:, 0].sum()

    def sizes(self, batch: Any, rows: Tensor) -> Tensor:
        """Never asked for: nothing is decoded."""
        raise AssertionError("a task that makes its own targets predicts nothing of new texts")

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """Never asked for."""
        raise AssertionError("a task that makes its own targets predicts nothing of new texts")


def adopt(module: nn.Module, prefix: str, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights whose names begin with `prefix` into the parameters of these names, where sizes agree."""
    for name, parameter in module.named_parameters():
        found = weights.get(prefix + name)
        if found is not None and found.shape == parameter.shape:
            with torch.no_grad():
                parameter.copy_(found)


def targets_of(hidden: Hidden) -> Targets:
    """The targets of the head's own task, which such a head reads in its forward pass."""
    assert hidden.targets is not None, "a task that makes its own targets is asked for batches that have them"
    return hidden.targets


def places(hidden: Hidden, rows: Tensor, key: str = "places") -> Tensor:
    """Tokens of the batch [N] at the targets' places, which are counted within their rows."""
    targets = targets_of(hidden)
    starts_R = hidden.batch.cu_seqlens[rows].long()
    return targets.values[key] + starts_R.repeat_interleave(targets.cu[key].diff())
