import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.decoding.best_spans import best_spans, best_threshold
from braid.nn.segments import segment_logsumexp, segment_min


def all_spans(start, end, longest):
    return [
        (float(start[i]) + float(end[j]), i, j)
        for i in range(len(start))
        for j in range(i, min(i + longest, len(start)))
    ]


# ------------------------------------------------------------------ search


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 100), st.integers(0, 9))
def test_the_best_spans_are_those_of_a_search_of_all(size, longest, n, seed):
    rng = np.random.default_rng(seed)
    # Few values, so that there are ties.
    start, end = (rng.integers(0, 4, size).astype(np.float32) for _ in range(2))
    expected = sorted(all_spans(start, end, longest), key=lambda span: (-span[0], span[1], span[2]))
    found = best_spans(start, end, longest=longest, n=n)
    assert found.units.tolist() == [[i, j] for _, i, j in expected[:n]]
    assert found.scores.tolist() == [score for score, _, _ in expected[:n]]
    assert found.total == pytest.approx(np.log(sum(np.exp(score) for score, _, _ in expected)))


def test_a_text_without_units_has_no_span():
    found = best_spans(np.zeros(0, np.float32), np.zeros(0, np.float32), longest=5)
    assert (len(found.units), len(found.scores), found.total) == (0, 0, -np.inf)


def test_great_scores_neither_overflow_nor_hide_small_differences():
    start, end = np.array([3e4, 3e4 - 8], np.float32), np.array([0, 3e4], np.float32)
    found = best_spans(start, end, longest=2, n=2)
    assert found.units.tolist() == [[0, 1], [1, 1]]
    assert np.exp(found.scores - found.total) == pytest.approx([1 / (1 + np.exp(-8)), 1 / (1 + np.exp(8))])


# ------------------------------------------------------------------ threshold


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.sampled_from([0.0, 0.3, 1.0]), st.booleans()), min_size=1, max_size=9))
def test_no_threshold_does_better(rows):
    margins = np.array([margin for margin, _, _ in rows], np.float32)
    answered = np.array([0.0 if empty else score for _, score, empty in rows])
    declined = np.array([float(empty) for _, _, empty in rows])

    def total(threshold):
        return float(np.where(margins > threshold, declined, answered).sum())

    best = max(total(threshold) for threshold in (-9, *margins.tolist()))
    assert total(best_threshold(margins, answered, declined)) == pytest.approx(best)


def test_the_threshold_stands_halfway_between_two_margins():
    margins, answered = np.array([3.0, -1.0, 1.0], np.float32), np.array([0.0, 1.0, 0.5])
    assert best_threshold(margins, answered, np.array([1.0, 0.0, 0.0])) == 2.0
    assert best_threshold(margins, answered, np.zeros(3)) == 2.0, "the last gains nothing by being answered"


def test_margins_that_are_neighbours_in_float32_are_kept_apart():
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    threshold = np.float32(best_threshold(np.array([low, high]), np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    assert low <= threshold < high


# ------------------------------------------------------------------ segments


def test_segments_in_any_order_have_their_own_sums_and_minima():
    values, segments = torch.randn(40, dtype=torch.float64), torch.randint(0, 5, (40,))
    for k in range(5):
        own = values[segments == k]
        torch.testing.assert_close(segment_logsumexp(values, segments, 5)[k], own.logsumexp(0))
        torch.testing.assert_close(segment_min(values, segments, 5)[k], own.min())


def test_an_empty_segment_is_nothing_and_disturbs_no_gradient():
    values = torch.tensor([1e4, -1e4, 3.0], requires_grad=True)
    segments = torch.tensor([0, 0, 2])
    sums = segment_logsumexp(values, segments, 3)
    assert sums.tolist() == [1e4, -torch.inf, 3.0]
    assert segment_min(values, segments, 3).tolist() == [-1e4, torch.inf, 3.0]
    (sums[0] + sums[2] + segment_min(values, segments, 3)[0]).backward()
    assert values.grad.tolist() == [1.0, 1.0, 1.0]
