"""Word segmentation: precision, recall and F1 of words, as the SIGHAN bakeoff's `score` script defines them.

A predicted word is right when both its borders are gold borders with none between them (Sproat and Emerson 2003).
The script finds right words by `diff` over the two word lists; that differs only where a word repeats so that
`diff` aligns it with another occurrence.
"""

from __future__ import annotations

from collections.abc import Sequence

from braid.data.tag_schemes import Scheme, spans_of
from braid.metrics.entities import f1_of, ratio
from braid.metrics.meter import Meter
from braid.metrics.tags import HasTags


class SegmentationMeter(Meter):
    """`f1`, `precision`, `recall` of words, `accuracy` of tags over units. Gold is the list of untyped tags."""

    def __init__(self, scheme: Scheme = "bmes") -> None:
        self.scheme = scheme
        self.gold = self.predicted = self.correct = 0
        self.units = self.right_units = 0

    def update(self, prediction: HasTags, gold: Sequence[str]) -> None:
        """Add the words of one row; both have a tag for each unit."""
        said = prediction.tags
        self.right_units += sum(a == b for a, b in zip(gold, said, strict=True))
        self.units += len(gold)
        expected_words, said_words = spans_of(gold, self.scheme), spans_of(said, self.scheme)
        self.gold += len(expected_words)
        self.predicted += len(said_words)
        self.correct += len(set(expected_words) & set(said_words))

    def merge(self, other: SegmentationMeter) -> None:
        """Add the counts of another meter."""
        self.gold += other.gold
        self.predicted += other.predicted
        self.correct += other.correct
        self.units += other.units
        self.right_units += other.right_units

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; 0 where undefined."""
        precision, recall = ratio(self.correct, self.predicted), ratio(self.correct, self.gold)
        return {
            "f1": f1_of(precision, recall),
            "precision": precision,
            "recall": recall,
            "accuracy": ratio(self.right_units, self.units),
        }
