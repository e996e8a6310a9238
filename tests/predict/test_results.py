"""One input's predictions, by task."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest

from braid.predict.results import Result
from braid.tasks.classification import Label
from braid.tasks.similarity import Similarity
from braid.tasks.tagging import Span, Tags


def test_a_task_that_is_not_there_is_named_with_those_that_are() -> None:
    result = Result("a text", predictions={"ner": [], "topic": "news"})
    assert result["topic"] == "news"
    assert "cws" not in result
    assert result.get("cws") is None
    with pytest.raises(KeyError, match=r"no prediction of 'cws' .* ner, topic"):
        result["cws"]


def test_what_a_writer_gets_is_written_as_what_everybody_gets() -> None:
    predictions = {
        "mood": Label("pos", {"neg": 0.25, "pos": 0.75}),
        "ner": Tags([Span(0, 2, "北京", "LOC", 0.5)], ["B-LOC", "I-LOC"]),
        "near": Similarity(0.5, None, np.ones((2, 3), np.float32)),
    }
    result = Result("北京", "it", words=("北", "京"), query="q", options=("a",), predictions=predictions)
    assert json.loads(orjson.dumps(result.to_write())) == json.loads(json.dumps(result.to_json()))
    assert list(result.to_write()) == list(result.to_json())
    assert result.to_write()["ner"] is predictions["ner"]
