"""Spans of a type: precision, recall and F1 over exact matches, equal to seqeval's default mode (conlleval)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from braid.data.tag_schemes import Scheme, spans_of
from braid.metrics.meter import Meter
from braid.metrics.tags import HasTags


def ratio(part: float, whole: float) -> float:
    """`part / whole`, and 0 where there is nothing to divide by (seqeval's and scikit-learn's `zero_division=0`)."""
    return part / whole if whole else 0.0


def f1_of(precision: float, recall: float) -> float:
    """The harmonic mean."""
    return ratio(2 * precision * recall, precision + recall)


class EntityMeter(Meter):
    """`f1`, `precision`, `recall` (micro), `accuracy` over units, `macro_f1` over types. Gold is the list of tags."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self.gold: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.correct: Counter[str] = Counter()
        self.units = 0
        self.right_units = 0

    def update(self, prediction: HasTags, gold: Sequence[str]) -> None:
        """Add the spans of one row; both have a tag for each unit."""
        said = prediction.tags
        self.right_units += sum(a == b for a, b in zip(gold, said, strict=True))
        self.units += len(gold)
        expected_spans, said_spans = set(spans_of(gold, self.scheme)), set(spans_of(said, self.scheme))
        self.gold.update(label for *_, label in expected_spans)
        self.predicted.update(label for *_, label in said_spans)
        self.correct.update(label for *_, label in expected_spans & said_spans)

    def merge(self, other: EntityMeter) -> None:
        """Add the counts of another meter."""
        self.gold.update(other.gold)
        self.predicted.update(other.predicted)
        self.correct.update(other.correct)
        self.units += other.units
        self.right_units += other.right_units

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; 0 where undefined."""
        precision, recall, f1, _ = self._figures(self._types())
        by_type = [self._figures([label])[2] for label in self._types()]
        return {
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "accuracy": ratio(self.right_units, self.units),
            "macro_f1": ratio(sum(by_type), len(by_type)),
        }

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support by type."""
        names = ("precision", "recall", "f1", "support")
        return [{"label": label, **dict(zip(names, self._figures([label]), strict=True))} for label in self._types()]

    def _types(self) -> list[str]:
        return sorted({*self.gold, *self.predicted})

    def _figures(self, labels: Iterable[str]) -> tuple[float, float, float, int]:
        gold = predicted = correct = 0
        for label in labels:
            gold, predicted = gold + self.gold[label], predicted + self.predicted[label]
            correct += self.correct[label]
        precision, recall = ratio(correct, predicted), ratio(correct, gold)
        return precision, recall, f1_of(precision, recall), gold
