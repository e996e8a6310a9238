"""How often each gold label was called what: the counts that all figures of single-label tasks come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Confusion:
    """Counts of (gold, predicted) pairs. *labels*: the inventory, for the table; figures never depend on it."""

    labels: Collection[str] = ()
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, gold: str, predicted: str) -> None:
        """Count one pair."""
        self.counts[gold, predicted] += 1

    def merge(self, other: Confusion) -> None:
        """Add all that another one has counted."""
        self.counts.update(other.counts)

    @property
    def total(self) -> int:
        """Pairs counted."""
        return self.counts.total()

    def _weighted(self) -> tuple[list[str], list[str], list[int]]:
        pairs = sorted(self.counts)
        return [gold for gold, _ in pairs], [said for _, said in pairs], [self.counts[pair] for pair in pairs]

    def accuracy(self) -> float:
        """Share of pairs that agree; 0 for none at all."""
        right = sum(count for (gold, said), count in self.counts.items() if gold == said)
        return right / self.total if self.total else 0.0

    def f1(self, average: str) -> float:
        """`sklearn.metrics.f1_score` of that `average`, over labels that are gold or predicted; 0 where undefined."""
        if not self.total:
            return 0.0
        from sklearn.metrics import f1_score

        gold, said, weights = self._weighted()
        return float(f1_score(gold, said, average=average, sample_weight=weights, zero_division=0))

    def mcc(self) -> float:
        """`sklearn.metrics.matthews_corrcoef`: -1..1, and 0 where either side knows one label only."""
        if len({gold for gold, _ in self.counts}) < 2 or len({said for _, said in self.counts}) < 2:
            return 0.0
        from sklearn.metrics import matthews_corrcoef

        gold, said, weights = self._weighted()
        return float(matthews_corrcoef(gold, said, sample_weight=weights))

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support of each label: the inventory in its order, then what else appeared."""
        if not self.total:
            return []
        from sklearn.metrics import precision_recall_fscore_support

        gold, said, weights = self._weighted()
        names = [*self.labels, *sorted({*gold, *said} - set(self.labels))]
        columns = precision_recall_fscore_support(gold, said, labels=names, sample_weight=weights, zero_division=0)
        return [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, p, r, f, n in zip(names, *columns, strict=True)
        ]
