"""multilabel: every label that reaches its threshold.

Shape legend: n dev rows, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.probabilities import sigmoid


@dataclass(frozen=True)
class Labels(Prediction):
    """The labels whose probability reaches their threshold, in the inventory's order, and the probability of each."""

    labels: list[str]
    probabilities: dict[str, float]


@dataclass(frozen=True, eq=False)
class MultilabelDecoder(Decoder):
    """Sigmoid of each of *labels*, and a threshold for each, *threshold_C* [C] float32; *from_dev*: whether dev data
    set them."""

    kind: ClassVar[str] = "multilabel"

    labels: list[str]
    threshold_C: np.ndarray
    from_dev: bool = False

    def __post_init__(self) -> None:
        if self.threshold_C.shape != (len(self.labels),):
            raise ValueError(f"{len(self.labels)} labels need as many thresholds, not {self.threshold_C.shape}")

    @property
    def tunes(self) -> bool:
        """Where the thresholds are the dev data's."""
        return self.from_dev

    def tuned(
        self,
        logits: Sequence[np.ndarray],
        golds: Sequence[Any],
        examples: Sequence[Example],
        units: Sequence[np.ndarray],
    ) -> Self:
        """Each label's threshold by its own F1 on the dev data; 0.5 for labels that no dev row has."""
        scores_nC = sigmoid(np.concatenate(logits))
        found = [
            best_threshold(scores_nC[:, column], np.array([name in gold for gold in golds]))
            for column, name in enumerate(self.labels)
        ]
        return replace(self, threshold_C=np.array(found, np.float32))

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Labels]:
        """The labels of each example that reach their threshold."""
        out = []
        for row_1C in logits:
            scores_C = sigmoid(row_1C[0])
            reached = (scores_C >= self.threshold_C).tolist()
            chosen = [name for name, yes in zip(self.labels, reached, strict=True) if yes]
            out.append(Labels(chosen, dict(zip(self.labels, scores_C.tolist(), strict=True))))
        return out


def best_threshold(scores_n: np.ndarray, right_n: np.ndarray) -> float:
    """The threshold with the best F1, halfway between the scores that it parts; of equal ones the nearest to 0.5.
    0.5 where nothing is right."""
    if not right_n.any():
        return 0.5
    order = np.argsort(-scores_n, kind="stable")
    sorted_n, hits_n = scores_n[order], np.cumsum(right_n[order])
    f1_n = 2 * hits_n / (np.arange(1, len(order) + 1) + right_n.sum())
    # Between equal scores there is no threshold.
    f1_n[:-1][sorted_n[:-1] == sorted_n[1:]] = -1.0
    limit_n = (sorted_n + np.append(sorted_n[1:], 0.0)) / 2
    best = np.flatnonzero(f1_n >= f1_n.max() - 1e-12)
    return float(limit_n[best[np.argmin(np.abs(limit_n[best] - 0.5))]])
