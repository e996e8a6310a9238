"""A tag for each unit that marks no spans (parts of speech): accuracy and macro F1 over units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from braid.metrics.confusion import Confusion
from braid.metrics.meter import Meter


class HasTags(Protocol):
    """A prediction of one tag a unit."""

    @property
    def tags(self) -> Sequence[str]:
        """The predicted tags."""
        ...


class TagMeter(Meter):
    """`accuracy` and `macro_f1` over all units of all rows. Gold is the list of tags."""

    def __init__(self, labels: Collection[str] = ()) -> None:
        self.confusion = Confusion(labels)

    def update(self, prediction: HasTags, gold: Sequence[str]) -> None:
        """Add the units of one row; both have a tag for each unit."""
        for expected, said in zip(gold, prediction.tags, strict=True):
            self.confusion.add(expected, said)

    def merge(self, other: TagMeter) -> None:
        """Add the units of another meter."""
        self.confusion.merge(other.confusion)

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1."""
        return {"accuracy": self.confusion.accuracy(), "macro_f1": self.confusion.f1("macro")}

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support by tag."""
        return self.confusion.table()
