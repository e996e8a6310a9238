"""Labels that carry a teacher's logits or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from braid.data.soft_labels import hard_label, names_of, teacher_logits
from braid.errors import LabelError

NAMES = ["neg", "neutral", "pos"]


def test_a_plain_label_has_no_teacher() -> None:
    assert teacher_logits("pos", NAMES) is None
    assert hard_label("pos", "label") == "pos"
    assert hard_label(["a", "b"], "labels") == ["a", "b"]
    assert names_of("pos") == []


def test_logits_come_in_the_order_of_our_labels() -> None:
    label = {"label": "pos", "logits": {"pos": 3.0, "neg": -1.0, "neutral": 0.5}}
    assert teacher_logits(label, NAMES).tolist() == [-1.0, 0.5, 3.0]  # type: ignore[union-attr]
    assert hard_label(label, "label") == "pos"
    table = {"logits": {"labels": ["pos", "neg", "neutral"], "values": [[3.0, -1.0, 0.5], [0.0, 1.0, 2.0]]}}
    assert teacher_logits(table, NAMES).tolist() == [[-1.0, 0.5, 3.0], [1.0, 2.0, 0.0]]  # type: ignore[union-attr]
    assert hard_label(table, "tags") is None
    assert names_of(table) == ["pos", "neg", "neutral"]


def test_probabilities_are_logits_of_the_same_distribution() -> None:
    logits = teacher_logits({"probabilities": {"pos": 0.7, "neg": 0.3, "neutral": 0.0}}, NAMES)
    assert logits is not None
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(), [0.3, 0.0, 0.7], atol=1e-5)


def test_a_label_that_the_teacher_does_not_know_gets_nearly_nothing() -> None:
    logits = teacher_logits({"logits": {"pos": 1.0, "neg": 1.0}}, NAMES)
    assert logits is not None
    powers = np.exp(logits)
    assert powers[1] / powers.sum() < 1e-5


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ({"logits": {"pos": 1.0, "other": 2.0}}, "'other' is no label"),
        ({"logits": {}}, "expected a mapping"),
        ({"logits": [1.0, 2.0]}, "expected a mapping"),
        ({"logits": {"pos": float("nan")}}, "finite"),
        ({"logits": {"pos": "high"}}, "finite"),
        ({"logits": {"labels": ["pos"], "values": [[1.0, 2.0]]}}, "expected 1 finite numbers"),
        ({"probabilities": {"pos": 1.5}}, "from 0 to 1"),
        ({"logits": {"labels": ["pos", "pos"], "values": [1.0, 2.0]}}, "twice"),
    ],
)
def test_opinions_that_cannot_be_used(label: Any, what: str) -> None:
    with pytest.raises(LabelError, match=what):
        teacher_logits(label, NAMES)


def test_a_mapping_that_is_no_label() -> None:
    with pytest.raises(LabelError, match="expected 'label'"):
        hard_label({"text": "x"}, "label")


@pytest.mark.parametrize("given", [{"pos": 0.9, "neg": 0.9, "neutral": 0.1}, {"pos": 0.2, "neg": 0.2}])
def test_probabilities_of_labels_that_exclude_each_other_sum_to_one(given: dict[str, float]) -> None:
    with pytest.raises(LabelError, match="must sum to 1"):
        teacher_logits({"probabilities": given}, NAMES)
    assert teacher_logits({"probabilities": given}, NAMES, independent=True) is not None
