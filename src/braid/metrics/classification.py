"""One label for each row: accuracy, F1 and Matthews' correlation, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from braid.metrics.confusion import Confusion
from braid.metrics.meter import Meter


class HasLabel(Protocol):
    """A prediction of one label."""

    @property
    def label(self) -> str:
        """The predicted label."""
        ...


class ClassificationMeter(Meter):
    """`accuracy`, `macro_f1`, `micro_f1`, `mcc`. Gold is the label.

    As scikit-learn does by default, macro F1 averages over the labels that are gold or predicted somewhere; those
    of the inventory that never appear stand in the table only.
    """

    def __init__(self, labels: Collection[str] = ()) -> None:
        self.confusion = Confusion(labels)

    def update(self, prediction: HasLabel, gold: str) -> None:
        """Add one row."""
        self.confusion.add(gold, prediction.label)

    def merge(self, other: ClassificationMeter) -> None:
        """Add the rows of another meter."""
        self.confusion.merge(other.confusion)

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1 (mcc -1..1); all 0 before the first row."""
        return {
            "accuracy": self.confusion.accuracy(),
            "macro_f1": self.confusion.f1("macro"),
            "micro_f1": self.confusion.f1("micro"),
            "mcc": self.confusion.mcc(),
        }

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support by class."""
        return self.confusion.table()
