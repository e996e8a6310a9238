"""What a meter is: metrics over a whole set, never averages of batch scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Meter(ABC):
    """Metrics of one task over a whole set: fed row by row, mergeable, computed once at the end."""

    sometimes: ClassVar[tuple[str, ...]] = ()
    """Metrics that are there for some rows only."""

    @abstractmethod
    def update(self, prediction: Any, gold: Any) -> None:
        """Add one example: its prediction and what `Task.gold` made of its label."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add all that another meter of the same kind has seen."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Every metric by its standard name, the first being the task type's main one. Fractions in 0..1. Of no rows
        at all any figure will do: only the names count."""

    def table(self) -> list[dict[str, Any]]:
        """Figures by class or label, where the task has any."""
        return []
