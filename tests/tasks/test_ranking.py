"""ranking: losses, ranks, wrong rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from braid.data.example import Example, Window
from braid.data.packing import pack_targets
from braid.data.windows import NO_UNITS
from braid.errors import LabelError
from braid.tasks.ranking import Ranking

QUERIES = ["q1", "q1", "q1", "q2", "q2", "q3"]
GRADES = [0, 1, 1, 2, 0, 0]
SCORES = torch.tensor([[0.5], [1.0], [-1.0], [0.2], [0.4], [3.0]])


def window() -> Window:
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), np.int32), NO_UNITS, 0, np.empty(0, np.int64))


def loss_of(order: list[int], **options: Any) -> tuple[float, int]:
    task = Ranking(**options)
    rows = [Example("text", f"c{k}", query=QUERIES[k]) for k in range(6)]
    facts = task.learn(GRADES, rows)
    targets = [task.encode(GRADES[k], rows[k], window(), facts) for k in order]
    packed = pack_targets(range(6), targets, count=0)  # type: ignore[arg-type]
    count = sum(task.count(target) for target in targets if target is not None)
    return float(task.make_head(facts, 4).loss(SCORES[order], packed)), count


def test_listwise_is_the_likelihood_of_relevant_candidates_among_those_of_their_query() -> None:
    first, second = SCORES[:3, 0].log_softmax(0), SCORES[3:5, 0].log_softmax(0)
    expected = float(-0.5 * first[1] - 0.5 * first[2] - second[0])
    assert loss_of([0, 1, 2, 3, 4, 5]) == (pytest.approx(expected), 3)
    assert loss_of([5, 3, 1, 0, 4, 2]) == (pytest.approx(expected), 3)


def test_pairwise_is_the_mean_hinge_against_less_relevant_candidates() -> None:
    expected = max(0, 1 - 1.0 + 0.5) + max(0, 1 + 1.0 + 0.5) + max(0, 1 - 0.2 + 0.4)
    assert loss_of([2, 1, 0, 5, 4, 3], loss="pairwise") == (pytest.approx(expected), 3)


def test_pointwise_looks_at_each_candidate_alone() -> None:
    grades = torch.tensor(GRADES) / 2
    expected = torch.nn.functional.binary_cross_entropy_with_logits(SCORES[:, 0], grades, reduction="sum")
    assert loss_of([0, 1, 2, 3, 4, 5], loss="pointwise") == (pytest.approx(float(expected)), 6)


def test_ranks_are_those_among_the_candidates_of_a_query() -> None:
    rows = [Example("q", "a"), Example("r", "b"), Example("q", "c"), Example("q", "d")]
    logits = [np.array([[score]], np.float32) for score in (0.1, 0.0, 0.7, 0.1)]
    found = Ranking().make_head({"highest": 1.0}, 4).decode(logits, rows, [NO_UNITS] * 4)
    assert [row.rank for row in found] == [2, 1, 1, 3]
    sure = Ranking(loss="pointwise").make_head({"highest": 1.0}, 4).decode(logits, rows, [NO_UNITS] * 4)
    assert sure[1].score == 0.5


@pytest.mark.parametrize(
    ("labels", "what"),
    [([0, 0], "no training row is relevant"), ([1, -1], "0 .*or more"), (["a"], "number"), ([], "no")],
)
def test_labels_that_cannot_be_learned_from(labels: list[Any], what: str) -> None:
    with pytest.raises(LabelError, match=what):
        Ranking().learn(labels, [Example("q", "c")] * len(labels))


def test_a_candidate_is_needed() -> None:
    assert "pair" in str(Ranking().fits(Example("q")))
    assert Ranking().fits(Example("q", "c")) is None
