"""Any number of labels for each row: F1, mean average precision and subset accuracy, as scikit-learn defines them.

Shape legend: n rows, C labels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np

from braid.metrics.meter import Meter


class HasLabels(Protocol):
    """A prediction of labels, and of the probability of each that there is."""

    @property
    def labels(self) -> Sequence[str]:
        """The predicted labels."""
        ...

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of every label."""
        ...


class MultilabelMeter(Meter):
    """`micro_f1`, `macro_f1`, `map`, `subset_accuracy`. Gold is the list of labels.

    Averages by label are over the inventory and whatever else is gold somewhere (which nothing can predict), except
    that `map` leaves out labels that are never gold: their average precision is not defined.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.golds: list[list[str]] = []
        self.said: list[list[str]] = []
        self.scores: list[list[float]] = []

    def update(self, prediction: HasLabels, gold: Collection[str]) -> None:
        """Add one row."""
        self.golds.append(sorted(gold))
        self.said.append(list(prediction.labels))
        self.scores.append([prediction.probabilities.get(name, 0.0) for name in self.labels])

    def merge(self, other: MultilabelMeter) -> None:
        """Add the rows of another meter."""
        self.golds += other.golds
        self.said += other.said
        self.scores += other.scores

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; all 0 before the first row."""
        if not self.golds:
            return dict.fromkeys(("micro_f1", "macro_f1", "map", "subset_accuracy"), 0.0)
        from sklearn.metrics import f1_score

        _, gold_nC, said_nC = self._tables()
        return {
            "micro_f1": float(f1_score(gold_nC, said_nC, average="micro", zero_division=0)),
            "macro_f1": float(f1_score(gold_nC, said_nC, average="macro", zero_division=0)),
            "map": self._mean_average_precision(gold_nC[:, : len(self.labels)]),
            "subset_accuracy": float((gold_nC == said_nC).all(axis=1).mean()),
        }

    def _tables(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        unknown = sorted({name for gold in self.golds for name in gold} - set(self.labels))
        names = [*self.labels, *unknown]
        column = {name: k for k, name in enumerate(names)}
        tables = []
        for rows in (self.golds, self.said):
            table_nC = np.zeros((len(rows), len(names)), dtype=np.int64)
            for number, row in enumerate(rows):
                table_nC[number, [column[name] for name in row]] = 1
            tables.append(table_nC)
        return names, tables[0], tables[1]

    def _mean_average_precision(self, gold_nC: np.ndarray) -> float:
        from sklearn.metrics import average_precision_score

        there = gold_nC.any(axis=0)
        if not there.any():
            return 0.0
        scores_nC = np.asarray(self.scores, dtype=np.float64)
        return float(average_precision_score(gold_nC[:, there], scores_nC[:, there], average="macro"))

    def table(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support by label."""
        if not self.golds:
            return []
        from sklearn.metrics import precision_recall_fscore_support

        names, gold_nC, said_nC = self._tables()
        columns = precision_recall_fscore_support(gold_nC, said_nC, average=None, zero_division=0)
        return [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, p, r, f, n in zip(names, *columns, strict=True)
        ]
