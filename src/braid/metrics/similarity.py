"""How well vectors tell which texts are alike: correlation with graded labels, or finding each text's own pair.

Shape legend: n pairs, D size of a vector.
"""

from __future__ import annotations

from array import array
from typing import Protocol

import numpy as np

from braid.metrics.meter import Meter
from braid.metrics.regression import correlations

BLOCK = 1024
"""Texts that search at once, so that memory grows with the number of pairs and not with its square."""


class HasVectors(Protocol):
    """A prediction for a pair of texts."""

    @property
    def closeness(self) -> float:
        """What is compared with the label: the cosine, or the predicted number."""
        ...

    @property
    def vectors(self) -> np.ndarray:
        """Those of both texts [2, D]."""
        ...


class SimilarityMeter(Meter):
    """Where labels vary `spearman` and `pearson` of closeness and label (SciPy's); where all pairs belong together
    `recall_at_1`, `recall_at_10` and `mrr` of each text searching its own pair among all of the set. Gold is the
    label. Pairs with one second text are one candidate."""

    def __init__(self, *, varied: bool) -> None:
        self.varied = varied
        self.closeness, self.gold = array("d"), array("d")
        self.vectors: list[np.ndarray] = []

    def update(self, prediction: HasVectors, gold: float) -> None:
        """Add one pair."""
        self.closeness.append(prediction.closeness)
        self.gold.append(gold)
        if not self.varied:
            self.vectors.append(prediction.vectors)

    def merge(self, other: SimilarityMeter) -> None:
        """Add the pairs of another meter."""
        self.closeness.extend(other.closeness)
        self.gold.extend(other.gold)
        self.vectors += other.vectors

    def compute(self) -> dict[str, float]:
        """The figures; all 0 before the first pair."""
        if self.varied:
            pearson, spearman = correlations(self.closeness, self.gold)
            return {"spearman": spearman, "pearson": pearson}
        if not self.vectors:
            return dict.fromkeys(("recall_at_1", "recall_at_10", "mrr"), 0.0)
        ranks_n = retrieval_ranks(np.stack(self.vectors))
        return {
            "recall_at_1": float((ranks_n <= 1).mean()),
            "recall_at_10": float((ranks_n <= 10).mean()),
            "mrr": float((1 / ranks_n).mean()),
        }


def retrieval_ranks(vectors_n2D: np.ndarray) -> np.ndarray:
    """The rank [n] of each text's own pair among all different seconds, by cosine; of equal ones the own comes last."""
    sizes = np.linalg.norm(vectors_n2D, axis=2, keepdims=True)
    unit_n2D = vectors_n2D / np.maximum(sizes, 1e-12)
    seconds_KD, own_n = np.unique(unit_n2D[:, 1], axis=0, return_inverse=True)
    own_n = own_n.reshape(-1)
    ranks = []
    for first in range(0, len(unit_n2D), BLOCK):
        cosine_bK = unit_n2D[first : first + BLOCK, 0] @ seconds_KD.T
        own_b = np.take_along_axis(cosine_bK, own_n[first : first + BLOCK, None], axis=1)
        ranks.append((cosine_bK >= own_b).sum(axis=1))
    return np.concatenate(ranks)
