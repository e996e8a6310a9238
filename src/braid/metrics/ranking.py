"""Ranked candidates of queries: MAP, MRR, precision at 1 and NDCG, as trec_eval defines them.

A query without any relevant candidate is left out of all means, as trec_eval does. Candidates with one score stand in
the order in which they arrived, where trec_eval would sort by their names. Shape legend: n candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from braid.metrics.meter import Meter

METRICS = ("map", "mrr", "p_at_1", "ndcg", "ndcg_at_10")


class HasScore(Protocol):
    """A prediction with a score."""

    @property
    def score(self) -> float:
        """The higher, the more relevant."""
        ...


class RankingMeter(Meter):
    """`map`, `mrr`, `p_at_1`, `ndcg`, `ndcg_at_10`. Gold is (query, relevance); candidates come in any order.

    Relevance above 0 is relevant; NDCG's gain is the relevance itself, discounted by log2(rank + 1) (Järvelin and
    Kekäläinen 2002).
    """

    def __init__(self) -> None:
        self.queries: dict[str, list[tuple[float, float]]] = {}

    def update(self, prediction: HasScore, gold: tuple[str, float]) -> None:
        """Add one candidate."""
        query, relevance = gold
        self.queries.setdefault(query, []).append((float(prediction.score), float(relevance)))

    def merge(self, other: RankingMeter) -> None:
        """Add the candidates of another meter; those of one query are ranked together."""
        for query, candidates in other.queries.items():
            self.queries.setdefault(query, []).extend(candidates)

    def compute(self) -> dict[str, float]:
        """Means over queries with a relevant candidate, 0..1; all 0 without any."""
        figures = [figures_of(candidates) for candidates in self.queries.values() if any(r > 0 for _, r in candidates)]
        if not figures:
            return dict.fromkeys(METRICS, 0.0)
        return {name: float(np.mean([found[name] for found in figures])) for name in METRICS}

    def table(self) -> list[dict[str, Any]]:
        """How many queries there are, and how many of them count."""
        counted = sum(any(r > 0 for _, r in candidates) for candidates in self.queries.values())
        return [{"label": "queries", "all": len(self.queries), "with a relevant candidate": counted}]


def figures_of(candidates: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The figures of one query with at least one relevant candidate. *candidates*: (score, relevance)."""
    scores_n, relevance_n = np.array(candidates, dtype=np.float64).T
    ranked_n = relevance_n[np.argsort(-scores_n, kind="stable")]
    hits_n = ranked_n > 0
    ranks_n = np.arange(1, len(ranked_n) + 1)
    precision_n = np.cumsum(hits_n) / ranks_n
    return {
        "map": float(precision_n[hits_n].mean()),
        "mrr": float(1 / ranks_n[hits_n][0]),
        "p_at_1": float(hits_n[0]),
        "ndcg": _ndcg(ranked_n, len(ranked_n)),
        "ndcg_at_10": _ndcg(ranked_n, 10),
    }


def _ndcg(ranked_n: np.ndarray, depth: int) -> float:
    gains_n = np.maximum(ranked_n, 0)
    discount_n = 1 / np.log2(np.arange(2, min(depth, len(gains_n)) + 2))
    best_n = np.sort(gains_n)[::-1]
    return float((gains_n[:depth] * discount_n).sum() / (best_n[:depth] * discount_n).sum())
