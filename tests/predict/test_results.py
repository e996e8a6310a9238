"""One input's predictions, by task."""

from __future__ import annotations

import pytest

from braid.predict.results import Result


def test_a_task_that_is_not_there_is_named_with_those_that_are() -> None:
    result = Result("a text", predictions={"ner": [], "topic": "news"})
    assert result["topic"] == "news"
    assert "cws" not in result
    assert result.get("cws") is None
    with pytest.raises(KeyError, match=r"no prediction of 'cws' .* ner, topic"):
        result["cws"]
