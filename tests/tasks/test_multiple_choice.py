"""multiple_choice: labels, loss over the options of each example, predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from braid.data.example import Example, Window
from braid.data.packing import pack_targets
from braid.data.windows import NO_UNITS
from braid.errors import LabelError, SkippedLabelError
from braid.metrics.choice import ChoiceMeter
from braid.tasks.multiple_choice import Choice, MultipleChoice, index_of

ROW = Example("text", "question", options=("a", "b", "10", "b"))


def window(number: int) -> Window:
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), np.int32), NO_UNITS, 0, np.empty(0, np.int64), number)


@pytest.mark.parametrize(("label", "place"), [(0, 0), ("3", 3), (2.0, 2), ("a", 0), ("10", 2), ({"index": 1}, 1)])
def test_labels_are_places_or_texts_of_options(label: Any, place: int) -> None:
    assert index_of(label, ROW) == place


@pytest.mark.parametrize(
    ("label", "what"),
    [(4, "4 options"), (-1, "4 options"), ("c", "very text"), (True, "place"), (None, "place"), (1.5, "place")],
)
def test_labels_that_are_no_option(label: Any, what: str) -> None:
    with pytest.raises(LabelError, match=what):
        index_of(label, ROW)


def test_an_option_that_stands_there_twice_is_skipped() -> None:
    with pytest.raises(SkippedLabelError, match="more than once"):
        index_of("b", ROW)


def test_one_option_is_no_choice() -> None:
    assert "two or more" in str(MultipleChoice().fits(Example("t", options=("a",))))
    assert "two or more" in str(MultipleChoice().fits(Example("t")))
    assert MultipleChoice().fits(ROW) is None


def test_options_of_each_example_compete_wherever_their_rows_stand() -> None:
    task = MultipleChoice()
    rows = [(0, 1), (1, 0), (0, 0), (1, 2), (1, 1)]  # (example, option), in the order of the batch
    examples, right = [ROW, ROW], [1, 2]
    targets = [task.encode(right[e], examples[e], window(k), {}) for e, k in rows]
    packed = pack_targets(range(5), targets, count=2, examples=[e for e, _ in rows])  # type: ignore[arg-type]
    scores = torch.tensor([[1.0], [0.5], [0.0], [-1.0], [2.0]])
    first, second = scores[[0, 2], 0].log_softmax(0), scores[[1, 3, 4], 0].log_softmax(0)
    loss = task.make_head({}, 4).loss(scores, packed)
    torch.testing.assert_close(loss, -first[0] - second[1])
    assert sum(task.count(target) for target in targets if target is not None) == 2


def test_predictions_name_the_option() -> None:
    (choice,) = MultipleChoice().make_head({}, 4).decode([np.array([[0.0], [2.0], [1.0], [0.0]])], [ROW], [NO_UNITS])
    assert (choice.option, choice.index) == ("b", 1)
    assert sum(choice.probabilities) == pytest.approx(1)


def test_accuracy() -> None:
    meter, other = ChoiceMeter(), ChoiceMeter()
    assert meter.compute() == {"accuracy": 0.0}
    meter.update(Choice("a", 0, [1.0]), 0)
    other.update(Choice("a", 0, [1.0]), 1)
    meter.merge(other)
    assert meter.compute() == {"accuracy": 0.5}
