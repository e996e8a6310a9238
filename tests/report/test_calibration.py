"""Calibration errors, equal to an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.report.calibration import BINS, calibrate


def test_a_model_that_is_as_often_right_as_it_says_has_no_error() -> None:
    pairs = [(0.75, k % 4 != 0) for k in range(40)]
    assert calibrate(pairs).ece == pytest.approx(0)


def test_the_error_is_the_gap_weighted_by_what_a_bin_holds() -> None:
    made = calibrate([(0.9, True)] * 3 + [(0.9, False)] + [(0.5, False)])
    assert made.ece == pytest.approx(4 / 5 * 0.15 + 1 / 5 * 0.5)
    assert made.mce == pytest.approx(0.5)
    assert made.counts.sum() == 5


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=60))
def test_errors_equal_those_of_torchmetrics(pairs: list[tuple[float, bool]]) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification.calibration_error")
    edges = np.linspace(0, 1, BINS + 1)
    # A value on an edge falls here or there by its last bit in single precision.
    kept = [(chance, right) for chance, right in pairs if np.abs(edges - chance).min() > 1e-5]
    if not kept:
        return
    said = torch.tensor([chance for chance, _ in kept], dtype=torch.float64)
    right = torch.tensor([float(right) for _, right in kept], dtype=torch.float64)
    bounds = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    for norm, mine in (("l1", calibrate(kept).ece), ("max", calibrate(kept).mce)):
        assert mine == pytest.approx(float(functional._ce_compute(said, right, bounds, norm=norm)), abs=1e-6)


def test_0_and_1_have_their_bins() -> None:
    made = calibrate([(0.0, False), (1.0, True)])
    assert made.counts[0] == made.counts[-1] == 1
    assert made.ece == 0
