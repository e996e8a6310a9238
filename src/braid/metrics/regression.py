"""A number for each row: Pearson's and Spearman's correlation (SciPy's) and the mean squared error."""

from __future__ import annotations

import warnings
from array import array
from typing import Protocol

from braid.metrics.meter import Meter


class HasValue(Protocol):
    """A prediction of one number."""

    @property
    def value(self) -> float:
        """The predicted number."""
        ...


class RegressionMeter(Meter):
    """`pearson`, `spearman` (-1..1; 0 where either side is constant, so that "best" can compare) and `mse`."""

    def __init__(self) -> None:
        self.predicted = array("d")
        self.gold = array("d")

    def update(self, prediction: HasValue, gold: float) -> None:
        """Add one row, both in the label's own units."""
        self.predicted.append(prediction.value)
        self.gold.append(gold)

    def merge(self, other: RegressionMeter) -> None:
        """Add the rows of another meter."""
        self.predicted.extend(other.predicted)
        self.gold.extend(other.gold)

    def compute(self) -> dict[str, float]:
        """The figures; all 0 before the first row. `mse` is in squared units of the label."""
        n = len(self.gold)
        squares = sum((said - gold) ** 2 for said, gold in zip(self.predicted, self.gold, strict=True))
        pearson, spearman = correlations(self.predicted, self.gold)
        return {"pearson": pearson, "spearman": spearman, "mse": squares / n if n else 0.0}


def correlations(predicted: array[float], gold: array[float]) -> tuple[float, float]:
    """Pearson's and Spearman's correlation of two arrays [n]; 0 where one of them is constant or n < 2."""
    if len(set(predicted)) < 2 or len(set(gold)) < 2:
        return 0.0, 0.0
    from scipy.stats import pearsonr, spearmanr

    with warnings.catch_warnings():
        # SciPy warns of inputs that are nearly constant; the figure is what it is.
        warnings.simplefilter("ignore")
        pearson, spearman = float(pearsonr(predicted, gold).statistic), float(spearmanr(predicted, gold).statistic)
    # NaN: values so close together that their variance is 0 in floating point.
    return (0.0 if pearson != pearson else pearson), (0.0 if spearman != spearman else spearman)
