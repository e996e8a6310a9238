"""similarity: how near the vectors of two texts are.

Shape legend: D size of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction


@dataclass(frozen=True)
class Similarity(Prediction):
    """The cosine of both texts' vectors, and what it means in the units of the labels (None: they have none).

    *vectors* [2, D] are no part of the JSON; `model.embed` gives them."""

    cosine: float
    value: float | None
    vectors: np.ndarray = field(repr=False, compare=False, default_factory=lambda: np.zeros((2, 0), np.float32))
    by_value: bool = field(repr=False, compare=False, default=False)

    @property
    def closeness(self) -> float:
        """What is compared with the label."""
        return self.value if self.by_value and self.value is not None else self.cosine

    def to_json(self) -> dict[str, Any]:
        """Cosine and value."""
        return {"cosine": self.cosine, "value": self.value}


@dataclass(frozen=True, eq=False)
class SimilarityDecoder(Decoder):
    """Cosines. *low*, *high*: what cosines of 0 and 1 are in the labels' units, where they are any (*scaled*).
    *weight_3D*, *bias*: of the linear layer on [u; v; |u - v|] that says the value instead, in units of *std* around
    *mean*."""

    kind: ClassVar[str] = "similarity"
    embeds: ClassVar[bool] = True

    scaled: bool = False
    low: float = 0.0
    high: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    bias: float = 0.0
    weight_3D: np.ndarray | None = None

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Similarity]:
        """The cosine of each example's text and pair, and what it says in the labels' units."""
        return [self._similarity(vectors_ND[:2]) for vectors_ND in logits]

    def _similarity(self, vectors_2D: np.ndarray) -> Similarity:
        first_D, second_D = vectors_2D.astype(np.float64)
        cosine = float(first_D @ second_D / max(np.linalg.norm(first_D) * np.linalg.norm(second_D), 1e-12))
        if self.weight_3D is not None:
            both_3D = np.concatenate([first_D, second_D, np.abs(first_D - second_D)])
            said = float(both_3D @ self.weight_3D) + self.bias
            return Similarity(cosine, said * self.std + self.mean, vectors_2D, by_value=True)
        value = self.low + cosine * (self.high - self.low) if self.scaled else None
        return Similarity(cosine, value, vectors_2D)
