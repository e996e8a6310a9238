"""The ranking meter: trec_eval's figures, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, ndcg_score

from braid.metrics.ranking import METRICS, RankingMeter, figures_of
from braid.tasks.ranking import Ranked


def meter_of(queries: dict[str, list[tuple[float, float]]]) -> RankingMeter:
    meter = RankingMeter()
    for query, candidates in queries.items():
        for score, relevance in candidates:
            meter.update(Ranked(score, 1), (query, relevance))
    return meter


@pytest.mark.parametrize("seed", range(20))
def test_figures_without_ties_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    scores, relevance = rng.permutation(n).astype(float), rng.integers(0, 4, n).astype(float)
    relevance[0] = max(relevance[0], 1)
    found = figures_of(list(zip(scores, relevance, strict=True)))
    binary = (relevance > 0)[None]
    assert found["map"] == pytest.approx(label_ranking_average_precision_score(binary, scores[None]))
    assert found["map"] == pytest.approx(average_precision_score(binary[0], scores))
    assert found["ndcg"] == pytest.approx(ndcg_score(relevance[None], scores[None]))
    assert found["ndcg_at_10"] == pytest.approx(ndcg_score(relevance[None], scores[None], k=10))


def test_a_case_by_hand() -> None:
    found = figures_of([(0.9, 0), (0.8, 1), (0.3, 0), (0.2, 2)])
    assert found["map"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["mrr"] == 0.5
    assert found["p_at_1"] == 0.0
    best = 2 / np.log2(2) + 1 / np.log2(3)
    assert found["ndcg"] == pytest.approx((1 / np.log2(3) + 2 / np.log2(5)) / best)


def test_ties_stand_in_the_order_of_arrival() -> None:
    assert figures_of([(0.5, 1), (0.5, 0)])["mrr"] == 1.0
    assert figures_of([(0.5, 0), (0.5, 1)])["mrr"] == 0.5


def test_queries_without_a_relevant_candidate_are_left_out() -> None:
    meter = meter_of({"a": [(1.0, 1), (0.0, 0)], "b": [(1.0, 0), (0.0, 0)]})
    assert meter.compute() == dict.fromkeys(METRICS, 1.0)
    assert meter.table() == [{"label": "queries", "all": 2, "with a relevant candidate": 1}]
    assert set(meter_of({"b": [(1.0, 0)]}).compute().values()) == {0.0}


def test_a_query_may_be_divided_between_meters() -> None:
    left, right = meter_of({"a": [(0.2, 1)], "b": [(1.0, 1)]}), meter_of({"a": [(0.9, 0)]})
    left.merge(right)
    assert left.compute()["mrr"] == pytest.approx((0.5 + 1) / 2)
