"""Dependency trees: LAS, UAS and CLAS as the scorer of the CoNLL 2018 shared task (`conll18_ud_eval.py`, Zeman et al.
2018) defines them, for words that are given: with the gold words, its F1 of UAS and LAS is the share of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from braid.metrics.entities import f1_of, ratio
from braid.metrics.meter import Meter

CONTENT = frozenset(
    {
        *("nsubj", "obj", "iobj", "csubj", "ccomp", "xcomp"),
        *("obl", "vocative", "expl", "dislocated", "advcl", "advmod", "discourse"),
        *("nmod", "appos", "nummod", "acl", "amod", "conj", "fixed", "flat", "compound", "list", "parataxis"),
        *("orphan", "goeswith", "reparandum", "root", "dep"),
    }
)
"""Universal relations of content words, which CLAS is about: not those of function words and punctuation."""


class HasTree(Protocol):
    """A head and a relation for each word: a prediction, or a label that was read."""

    @property
    def heads(self) -> Sequence[int]:
        """Each word's head, from 1; 0 is the root."""
        ...

    @property
    def relations(self) -> Sequence[str]:
        """Each word's relation to its head."""
        ...


def universal(relation: str) -> str:
    """A relation without its subtype: `nmod:poss` is `nmod`. The scorer compares nothing more."""
    return relation.split(":", 1)[0]


class DependencyMeter(Meter):
    """`las`: words with the right head and relation; `uas`: with the right head; `clas`: F1 of LAS over the content
    words of each side. Punctuation counts, subtypes of relations do not. Gold is a tree of the same words."""

    def __init__(self) -> None:
        self.words = self.right_heads = 0
        self.gold: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.correct: Counter[str] = Counter()

    def update(self, prediction: HasTree, gold: HasTree) -> None:
        """Add the words of one sentence."""
        said_heads, said = prediction.heads, [universal(relation) for relation in prediction.relations]
        expected = [universal(relation) for relation in gold.relations]
        right = [a == b for a, b in zip(gold.heads, said_heads, strict=True)]
        self.words += len(right)
        self.right_heads += sum(right)
        self.gold.update(expected)
        self.predicted.update(said)
        self.correct.update(a for a, b, head in zip(expected, said, right, strict=True) if head and a == b)

    def merge(self, other: DependencyMeter) -> None:
        """Add the counts of another meter."""
        self.words += other.words
        self.right_heads += other.right_heads
        self.gold.update(other.gold)
        self.predicted.update(other.predicted)
        self.correct.update(other.correct)

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; 0 before the first word."""
        return {
            "las": ratio(self.correct.total(), self.words),
            "uas": ratio(self.right_heads, self.words),
            "clas": self._figures(CONTENT)[2],
        }

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support by universal relation: right are words with the right head and relation."""
        names = ("precision", "recall", "f1", "support")
        labels = sorted({*self.gold, *self.predicted})
        return [{"label": label, **dict(zip(names, self._figures([label]), strict=True))} for label in labels]

    def _figures(self, labels: Iterable[str]) -> tuple[float, float, float, int]:
        gold = predicted = correct = 0
        for label in labels:
            gold, predicted = gold + self.gold[label], predicted + self.predicted[label]
            correct += self.correct[label]
        precision, recall = ratio(correct, predicted), ratio(correct, gold)
        return precision, recall, f1_of(precision, recall), gold
