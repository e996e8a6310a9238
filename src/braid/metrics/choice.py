"""One option of several: accuracy."""

from __future__ import annotations

from typing import Protocol

from braid.metrics.meter import Meter


class HasIndex(Protocol):
    """A prediction of one option."""

    @property
    def index(self) -> int:
        """Its place among the options, from 0."""
        ...


class ChoiceMeter(Meter):
    """`accuracy`. Gold is the place of the right option."""

    def __init__(self) -> None:
        self.right = self.total = 0

    def update(self, prediction: HasIndex, gold: int) -> None:
        """Add one question."""
        self.right += prediction.index == gold
        self.total += 1

    def merge(self, other: ChoiceMeter) -> None:
        """Add the questions of another meter."""
        self.right += other.right
        self.total += other.total

    def compute(self) -> dict[str, float]:
        """The share of questions that were answered right; 0 before the first."""
        return {"accuracy": self.right / self.total if self.total else 0.0}
