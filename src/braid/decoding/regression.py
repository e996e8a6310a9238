"""regression: a number in the units of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction


@dataclass(frozen=True)
class Value(Prediction):
    """The predicted number, in the units of the labels."""

    value: float


@dataclass(frozen=True)
class RegressionDecoder(Decoder):
    """Logits are in units of *std* around *mean*."""

    kind: ClassVar[str] = "regression"

    mean: float
    std: float

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Value]:
        """Values in the units of the labels."""
        return [Value(float(row_11[0, 0]) * self.std + self.mean) for row_11 in logits]
