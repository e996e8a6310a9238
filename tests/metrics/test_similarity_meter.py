"""The similarity meter against SciPy and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from braid.metrics.similarity import SimilarityMeter, retrieval_ranks
from braid.tasks.similarity import Similarity


def test_correlations_are_scipys_and_parts_merge() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, 80).astype(float)
    cosines = gold / 10 + rng.normal(size=80)
    left, right = SimilarityMeter(varied=True), SimilarityMeter(varied=True)
    for k in range(80):
        (left if k < 30 else right).update(Similarity(float(cosines[k]), None), float(gold[k]))
    left.merge(right)
    assert left.compute() == pytest.approx(
        {"spearman": spearmanr(cosines, gold).statistic, "pearson": pearsonr(cosines, gold).statistic}
    )


def test_a_predicted_number_is_compared_where_there_is_one() -> None:
    meter = SimilarityMeter(varied=True)
    for value in (1.0, 2.0, 3.0):
        meter.update(Similarity(-value, value, by_value=True), value)
    assert meter.compute()["spearman"] == pytest.approx(1.0)


def test_each_text_searches_its_pair_among_all() -> None:
    rng = np.random.default_rng(1)
    firsts = rng.normal(size=(50, 8)).astype(np.float32)
    vectors = np.stack([firsts, firsts + rng.normal(size=(50, 8)).astype(np.float32)], axis=1)
    expected = []
    for k in range(50):
        cosines = [
            float(vectors[k, 0] @ vectors[j, 1] / np.linalg.norm(vectors[k, 0]) / np.linalg.norm(vectors[j, 1]))
            for j in range(50)
        ]
        expected.append(1 + sum(c > cosines[k] for c in cosines))
    assert retrieval_ranks(vectors).tolist() == expected
    meter = SimilarityMeter(varied=False)
    for pair in vectors:
        meter.update(Similarity(0.0, None, pair), 1.0)
    ranks = np.array(expected)
    assert meter.compute() == pytest.approx(
        {
            "recall_at_1": (ranks == 1).mean(),
            "recall_at_10": (ranks <= 10).mean(),
            "mrr": (1 / ranks).mean(),
        }
    )


def test_one_second_text_of_many_pairs_is_one_candidate() -> None:
    same = np.array([1.0, 0.0], np.float32)
    vectors = np.stack([np.stack([same, same])] * 5)
    assert retrieval_ranks(vectors).tolist() == [1] * 5


def test_nothing_is_zero() -> None:
    assert set(SimilarityMeter(varied=True).compute().values()) == {0.0}
    assert set(SimilarityMeter(varied=False).compute().values()) == {0.0}
