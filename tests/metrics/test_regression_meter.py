import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from braid.metrics.regression import RegressionMeter


@dataclass
class Said:
    value: float


def fed(said, gold):
    meter = RegressionMeter()
    for a, b in zip(said, gold, strict=True):
        meter.update(Said(float(a)), float(b))
    return meter


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    gold = random.integers(0, 6, 50) / 2
    said = gold + random.normal(size=50).round(1)
    assert fed(said, gold).compute() == pytest.approx(
        {
            "pearson": pearsonr(said, gold).statistic,
            "spearman": spearmanr(said, gold).statistic,
            "mse": np.mean((said - gold) ** 2),
        }
    )


@pytest.mark.parametrize(("said", "gold"), [([2, 2, 2], [1, 2, 3]), ([1, 2], [3, 3]), ([1], [2]), ([], [])])
def test_what_has_no_correlation_is_zero_without_a_warning(said, gold):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = fed(said, gold).compute()
    assert figures["pearson"] == figures["spearman"] == 0.0


def test_values_apart_by_less_than_floats_hold_are_no_nan():
    figures = fed([1.0, 1.0 + 2e-16 * 2, 1.0], [1, 2, 3]).compute()
    assert figures["pearson"] == figures["pearson"]


def test_merging_is_feeding_one_meter():
    merged = fed([1, 2, 4], [1, 3, 2])
    merged.merge(fed([5, 1], [4, 4]))
    assert merged.compute() == fed([1, 2, 4, 5, 1], [1, 3, 2, 4, 4]).compute()
