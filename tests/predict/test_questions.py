"""Questions with different tasks share a pass of the encoder, and get the answers that they would get alone."""

from __future__ import annotations

from typing import Any

import pytest

from serving.conftest import model as model
from serving.conftest import run as run

TEXTS = ["visit 3 to Rome was good", "a", "visit to 北京 was bad " * 8]


def test_in_company_or_alone_the_answers_are_the_same(model: Any) -> None:
    asked = [["mood"], ["places", "mood"], ["places"]]
    questions = [model.read(TEXTS, tasks) for tasks in asked]
    parts = [(question, number) for question in questions for number in range(len(TEXTS))]
    model.answer(parts[::2])
    model.answer(parts[1::2])
    for tasks, results in zip(asked, model.results(questions), strict=True):
        for found, alone in zip(results, model(TEXTS, tasks), strict=True):
            assert list(found) == list(alone) == tasks
            if "mood" in tasks:
                assert found["mood"].probabilities == pytest.approx(alone["mood"].probabilities, abs=1e-5)
            if "places" in tasks:
                assert found["places"].tags == alone["places"].tags


def test_candidates_are_compared_within_their_question_only(model: Any) -> None:
    rows = [{"text": "query 1", "pair": f"it was {k}"} for k in range(3)]
    questions = [model.read(rows, ["rank"]) for _ in range(2)]
    model.answer([(question, number) for number in range(3) for question in questions])
    for results in model.results(questions):
        assert sorted(result["rank"].rank for result in results) == [1, 2, 3]


def test_a_row_that_serves_several_tasks_counts_once(model: Any) -> None:
    alone, both = model.read(["visit to Rome"], ["mood"]), model.read(["visit to Rome"], ["mood", "places"])
    assert alone.tokens == both.tokens == [len(model.tokenizer.encode_ids(["visit to Rome"])[0]) + 2]
    long = "a b " * 60
    assert model.read([long], ["mood"]).tokens == [32]
    assert model.read([long], ["places"]).tokens[0] > 120
