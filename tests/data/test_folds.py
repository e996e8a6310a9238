"""Which rows are held out together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.example import Example
from braid.data.folds import assign
from braid.errors import BraidError


def texts(n: int) -> list[Example]:
    return [Example(f"text {k}") for k in range(n)]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(5, 60), folds=st.integers(2, 5), seed=st.integers(0, 2**62))
def test_every_row_is_in_one_fold_and_folds_are_of_one_size(n: int, folds: int, seed: int) -> None:
    found = assign(texts(n), None, folds=folds, seed=seed)
    sizes = Counter(found.tolist())
    assert sorted(sizes) == list(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert np.array_equal(found, assign(texts(n), None, folds=folds, seed=seed))


def test_another_seed_divides_otherwise() -> None:
    assert not np.array_equal(assign(texts(50), None, folds=5, seed=1), assign(texts(50), None, folds=5, seed=2))


def test_every_fold_has_its_share_of_every_label() -> None:
    strata = ["pos"] * 70 + ["neg"] * 20 + ["odd"] * 10
    found = assign(texts(100), strata, folds=5, seed=1)
    for fold in range(5):
        held = Counter(label for label, at in zip(strata, found.tolist(), strict=True) if at == fold)
        assert held == {"pos": 14, "neg": 4, "odd": 2}


def test_labels_rarer_than_folds_stop_nothing() -> None:
    found = assign(texts(23), ["pos"] * 10 + ["neg"] * 10 + ["a", "b", "c"], folds=5, seed=1)
    assert set(found.tolist()) == set(range(5))
    assert set(assign(texts(6), list("abcdef"), folds=3, seed=1).tolist()) == {0, 1, 2}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), data=st.lists(st.integers(0, 12), min_size=20, max_size=60))
def test_rows_of_one_query_are_never_divided(seed: int, data: list[int]) -> None:
    data = [*range(5), *data]
    rows = [Example(f"question {number}", f"answer {k}", query=str(number)) for k, number in enumerate(data)]
    for strata in (None, [str(k % 2) for k in range(len(rows))]):
        found = assign(rows, strata, folds=4, seed=seed)
        for number in set(data):
            assert len({at for at, own in zip(found.tolist(), data, strict=True) if own == number}) == 1
        assert set(found.tolist()) == {0, 1, 2, 3}


def test_documents_and_equal_inputs_stay_together() -> None:
    questions = [Example(f"question {k}", f"context {k // 4}") for k in range(40)]
    found = assign(questions, None, folds=5, seed=1, document="pair")
    assert all(len(set(found[k : k + 4].tolist())) == 1 for k in range(0, 40, 4))
    twice = [*texts(10), *texts(10)]
    found = assign(twice, None, folds=5, seed=1)
    assert np.array_equal(found[:10], found[10:])


def test_too_few_rows_are_named() -> None:
    with pytest.raises(BraidError, match="5 folds need as many rows or more; there are 3 rows"):
        assign(texts(3), None, folds=5, seed=1)
    same = [Example("same", query="1")] * 10
    with pytest.raises(BraidError, match="there are 1 sets of rows that must stay together"):
        assign(same, None, folds=2, seed=1)
