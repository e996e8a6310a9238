"""What `nsp` and `sop` share: whether a row's second part belongs behind its first.

Shape legend: R rows.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.changes import Change, Drawn, Use
from braid.metrics.language import LanguageMeter
from braid.nn.linear import Linear
from braid.nn.pooling import RowFeatures
from braid.tasks.base import Facts, Hidden
from braid.tasks.text import TextFacts, TextHead, TextTask, adopt, targets_of


class PairTask(TextTask, ABC):
    """Base of both: two classes a row, by BERT's pooler."""

    changes_input: ClassVar[bool] = True

    def learn_text(self, text: TextFacts) -> Facts:
        """Nothing."""
        return {}

    def change(self, text: TextFacts) -> Change:
        """The row as it was paired; 1 where the pair is wrong."""
        return wrongness

    def make_head(self, facts: Facts, hidden_size: int) -> PairHead:
        """BERT's pooler and two classes."""
        return PairHead(hidden_size, self.dropout)

    def meter(self, facts: Facts) -> LanguageMeter:
        """loss and accuracy."""
        return LanguageMeter(perplexity=False)


def wrongness(row: Drawn, use: Use) -> tuple[Drawn, dict[str, np.ndarray] | None]:
    """`labels` [1]."""
    return row, None if row.pair_label is None else {"labels": np.array([row.pair_label])}


class PairHead(TextHead):
    """Pooler, dropout, two classes."""

    def __init__(self, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.features = RowFeatures("cls", hidden_size, dense=True, dropout=dropout)
        self.classifier = Linear(hidden_size, 2)

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """The checkpoint's own two classes."""
        adopt(self.classifier, "pair.", weights)

    @property
    def pooler(self) -> tuple[Tensor, Tensor]:
        """Weight [D, D] and bias [D] of BERT's pooler, which this trains."""
        assert self.features.dense is not None
        return self.features.dense.weight, self.features.dense.bias

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """[R, 2]: cross-entropy and correctness."""
        logits_R2 = self.classifier(self.features(hidden.last, hidden.batch, rows)).float()
        labels_R = targets_of(hidden).values["labels"]
        correct_R = (logits_R2.argmax(dim=1) == labels_R).float()
        return torch.stack([F.cross_entropy(logits_R2, labels_R, reduction="none"), correct_R], dim=1)
