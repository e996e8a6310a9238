"""How wrong predictions are, by the fields that they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from braid.metrics.meter import Meter
from braid.model.network import TaskSpec
from braid.report.wrongness import claims, judgement
from braid.tasks.base import Prediction
from braid.tasks.classification import Label
from braid.tasks.multilabel import Labels
from braid.tasks.multiple_choice import Choice
from braid.tasks.ranking import Ranked
from braid.tasks.regression import Value
from braid.tasks.tagging import Span, Tags
from tiny import task_of

NOTHING = np.empty((0, 2), np.int32)


def spec_of(kind: str, **facts: Any) -> TaskSpec:
    return TaskSpec(task_of(kind), facts)


def test_a_label_is_the_more_wrong_the_less_likely_the_right_one_was() -> None:
    spec = spec_of("classification", labels=["a", "b"])
    sure, unsure = Label("a", {"a": 0.9, "b": 0.1}), Label("a", {"a": 0.6, "b": 0.4})
    assert judgement(sure, "a", NOTHING, "", spec).wrong == 0
    assert judgement(sure, "b", NOTHING, "", spec).wrong == pytest.approx(0.9)
    assert judgement(unsure, "b", NOTHING, "", spec).wrong == pytest.approx(0.6)
    assert claims(sure, "b", spec) == [(0.9, False)]


def test_a_gold_label_that_the_model_does_not_know_is_quite_wrong() -> None:
    found = judgement(Label("a", {"a": 1.0}), "new", NOTHING, "", spec_of("classification", labels=["a"]))
    assert (found.wrong, found.gold) == (1, "new (0.00)")


def test_each_label_of_several_is_a_claim_of_its_own() -> None:
    spec = spec_of("multilabel", labels=["a", "b"])
    said = Labels(["a"], {"a": 0.8, "b": 0.3})
    assert claims(said, ["b"], spec) == [(0.8, False), (0.3, True)]
    assert judgement(said, ["a"], NOTHING, "", spec).wrong == 0
    assert judgement(said, ["b"], NOTHING, "", spec).wrong == pytest.approx(2.8)


def test_an_option_is_judged_by_its_place() -> None:
    said = Choice("tea", 1, [0.3, 0.7])
    assert judgement(said, 1, NOTHING, "", spec_of("multiple_choice")).wrong == 0
    assert judgement(said, 0, NOTHING, "", spec_of("multiple_choice")).wrong == pytest.approx(0.7)


def test_a_number_is_judged_by_its_distance() -> None:
    found = judgement(Value(2.5), 4.0, NOTHING, "", spec_of("regression"))
    assert (found.wrong, found.distance) == (1.5, True)


def test_a_relevant_candidate_is_the_more_wrong_the_lower_it_stands() -> None:
    spec = spec_of("ranking")
    assert judgement(Ranked(0.1, 4), ("q", 1.0), NOTHING, "", spec).wrong == 3
    assert judgement(Ranked(0.1, 4), ("q", 0.0), NOTHING, "", spec).wrong == 0


def test_spans_that_differ_are_named_in_the_text_s_own_words() -> None:
    spec = spec_of("tagging", scheme="bio", labels=["B-X", "I-X", "O"], spans=True, units="characters", iob1=False)
    units = np.array([(k, k + 1) for k in range(6)], np.int32)
    said = Tags([Span(0, 2, "北京", "X", 0.7), Span(4, 5, "好", "X", 0.4)], ["B-X", "I-X", "O", "O", "B-X", "O"])
    found = judgement(said, ["B-X", "I-X", "O", "O", "O", "O"], units, "北京天气好吗", spec)
    assert (found.wrong, found.gold, found.said) == (1, "nothing else", "好 [X]")
    assert claims(said, ["B-X", "I-X", "O", "O", "O", "O"], spec) == [(0.7, True), (0.4, False)]


def test_a_type_of_one_s_own_is_judged_by_its_own_meter() -> None:
    @dataclass(frozen=True)
    class Loudness(Prediction):
        decibels: float

    class Near(Meter):
        near = total = 0

        def update(self, prediction: Any, gold: Any) -> None:
            self.near += abs(prediction.decibels - gold["decibels"]) < 3
            self.total += 1

        def merge(self, other: Any) -> None: ...

        def compute(self) -> dict[str, float]:
            return {"near": self.near / self.total}

    class Task:
        lower_is_better = frozenset[str]()

        def meter(self, facts: Any) -> Near:
            return Near()

        def best(self, facts: Any) -> str:
            return "near"

    spec = TaskSpec(Task(), {})  # type: ignore[arg-type]
    assert judgement(Loudness(60), {"decibels": 61}, NOTHING, "", spec).wrong == 0
    found = judgement(Loudness(60), {"decibels": 80}, NOTHING, "", spec)
    assert (found.wrong, found.gold, found.said) == (1, '{"decibels": 80}', '{"decibels": 60}')
    assert claims(Loudness(60), {"decibels": 80}, spec) == []
