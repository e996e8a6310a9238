"""classification: the most probable of several labels.

Shape legend: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.probabilities import softmax


@dataclass(frozen=True)
class Label(Prediction):
    """The most probable label, and the probability of each."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class ClassificationDecoder(Decoder):
    """Softmax over *labels*."""

    kind: ClassVar[str] = "classification"

    labels: list[str]

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Label]:
        """The most probable label of each example; of equal ones the first in the inventory."""
        return [self._label(softmax(row_1C[0])) for row_1C in logits]

    def _label(self, probabilities_C: np.ndarray) -> Label:
        best = self.labels[int(probabilities_C.argmax())]
        return Label(best, dict(zip(self.labels, probabilities_C.tolist(), strict=True)))
