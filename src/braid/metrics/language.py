"""Figures of tasks that predict what stands in the text itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from braid.metrics.meter import Meter

LONGEST = 700.0
"""Nats beyond which a perplexity is no number any more."""


class LanguageMeter(Meter):
    """Mean cross-entropy in nats (`loss`), its exponential (`perplexity`), the share of the most probable ones that are
    right (`accuracy`), and where characters are counted `bits_per_character`.

    *perplexity*: whether it means anything. *directions*: how often each character is predicted."""

    sometimes = ("bits_per_character",)

    def __init__(self, *, perplexity: bool = True, directions: int = 1) -> None:
        self.perplexity, self.directions = perplexity, directions
        self.nll = self.correct = self.characters = 0.0
        self.count = 0

    def update(self, prediction: Any, gold: Any) -> None:
        """*prediction* [N, 2]: cross-entropy and correctness of what was predicted; *gold*: the characters of the text
        that it makes up, 0 where it is no whole text."""
        values = np.asarray(prediction, dtype=np.float64)
        self.nll += float(values[:, 0].sum())
        self.correct += float(values[:, 1].sum())
        self.count += len(values)
        self.characters += float(gold)

    def merge(self, other: LanguageMeter) -> None:
        """Add sums."""
        self.nll += other.nll
        self.correct += other.correct
        self.count += other.count
        self.characters += other.characters

    def compute(self) -> dict[str, float]:
        """loss, perplexity, accuracy, bits_per_character."""
        count = max(1, self.count)
        loss = self.nll / count
        out = {"loss": loss}
        if self.perplexity:
            out["perplexity"] = math.exp(min(loss, LONGEST))
        out["accuracy"] = self.correct / count
        if self.characters:
            out["bits_per_character"] = self.nll / self.directions / math.log(2) / self.characters
        return out
