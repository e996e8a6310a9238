"""multilabel: reading labels, thresholds, soft labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from braid.data.example import Example, Window
from braid.data.packing import pack_targets
from braid.data.windows import NO_UNITS
from braid.decoding.multilabel import best_threshold
from braid.errors import LabelError
from braid.tasks.multilabel import Multilabel, MultilabelHead

TEXT = Example("x")


def window() -> Window:
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), np.int32), NO_UNITS, 0, np.empty(0, np.int64))


@pytest.mark.parametrize(
    ("label", "options", "expected"),
    [
        (["b", "a"], {}, ["b", "a"]),
        ([], {}, []),
        ("a", {}, ["a"]),
        ("a|b", {"separator": "|"}, ["a", "b"]),
        ([1, 2.0], {}, ["1", "2"]),
        ({"labels": ["a"], "probabilities": {"a": 0.9}}, {}, ["a"]),
        ({"probabilities": {"a": 0.9}}, {}, None),
    ],
)
def test_labels_are_read(label: Any, options: dict[str, Any], expected: list[str] | None) -> None:
    assert Multilabel(**options).read(label) == expected


@pytest.mark.parametrize(
    ("labels", "what"), [([["a", "a"]], "twice"), ([[], []], "any label"), ([[["a"]]], "list"), ([[""]], "empty")]
)
def test_labels_that_cannot_be_learned_from(labels: list[Any], what: str) -> None:
    with pytest.raises(LabelError, match=what):
        Multilabel().learn(labels, [TEXT] * len(labels))


def test_thresholds_are_the_best_on_dev_and_saved_with_the_head() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        right = rng.random(40) < 0.4
        scores = np.round(np.clip(0.3 * right + 0.7 * rng.random(40), 0, 1), 1)
        found = f1_score(right, scores >= best_threshold(scores, right), zero_division=0)
        every = [f1_score(right, scores >= limit, zero_division=0) for limit in np.linspace(0, 1.05, 22)]
        assert found == pytest.approx(max(every))
    task = Multilabel()
    facts = task.learn([["a"], ["b"]], [TEXT] * 2)
    head = task.make_head(facts, 4)
    logits = [np.array([[-2.0, 1.0]]), np.array([[-3.0, -1.0]]), np.array([[-5.0, -4.0]])]
    head.tune(logits, [["a", "b"], ["a"], []], [TEXT] * 3, [NO_UNITS] * 3)
    assert [row.labels for row in head.decode(logits, [TEXT] * 3, [NO_UNITS] * 3)] == [["a", "b"], ["a"], []]
    again = task.make_head(facts, 4)
    again.load_state_dict(head.state_dict())
    assert isinstance(again, MultilabelHead)
    assert isinstance(head, MultilabelHead)
    assert torch.equal(again.threshold_C, head.threshold_C)
    assert not Multilabel(threshold=0.3).make_head(facts, 4).tunes


def test_a_teacher_alone_is_learned_from_and_a_row_of_neither_kind_adds_nothing() -> None:
    task = Multilabel(soft={"temperature": 1.0})
    labels: list[Any] = [["a"], {"probabilities": {"a": 0.2, "b": 0.7}}, {"labels": [], "logits": {"a": 1.0, "b": 0.0}}]
    facts = task.learn(labels, [TEXT] * 3)
    assert facts["soft"]
    rows = []
    for label in labels:
        rows.append(task.encode(label, TEXT, window(), facts))
    logits = torch.tensor([[0.0, 1.0], [-1.0, 2.0], [0.5, -0.5]])
    loss = task.make_head(facts, 4).loss(logits, pack_targets(range(3), rows, count=3))  # type: ignore[arg-type]

    def bce(row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(row, target)

    def divergence(row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return bce(row, target) - bce(torch.logit(target), target)

    expected = (
        bce(logits[0], torch.tensor([1.0, 0.0]))
        + divergence(logits[1], torch.tensor([0.2, 0.7]))
        + 0.5 * bce(logits[2], torch.zeros(2))
        + 0.5 * divergence(logits[2], torch.tensor([1.0, 0.0]).sigmoid())
    )
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
