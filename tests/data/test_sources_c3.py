"""C3's files as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braid.config.families import SourceConfig
from braid.data.sources.base import Source
from braid.errors import DataError


def source(path: Path) -> Source:
    made = SourceConfig.choose({"type": "c3", "path": str(path)})
    assert isinstance(made, Source)
    return made


def test_a_row_for_each_question(tmp_path: Path) -> None:
    path = tmp_path / "c3.json"
    asked = [
        {"question": "谁?", "choice": ["男", "女"], "answer": "女"},
        {"question": "哪儿?", "choice": ["家", "路上", "学校"]},
    ]
    path.write_text(json.dumps([[["男：好。", "女：再见。"], asked, "1-1"]], ensure_ascii=False, indent=2), "utf-8")
    rows = list(source(path).rows("train"))
    assert [row.fields for row in rows] == [
        {"text": "男：好。\n女：再见。", "pair": "谁?", "options": ["男", "女"], "label": 1},
        {"text": "男：好。\n女：再见。", "pair": "哪儿?", "options": ["家", "路上", "学校"]},
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([[["t"], [{"question": "q", "choice": ["a", "b"], "answer": "c"}], "1"]], "record 1: the answer 'c' is none"),
        ([["t", [{"question": "q"}], "1"]], "record 1 is no"),
        ([[["t"], [], "0"], 7], "record 2 is no"),
        ({"a": 1}, "not a list of records"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, content: Any, what: str) -> None:
    path = tmp_path / "c3.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(DataError, match=what):
        list(source(path).rows("train"))


@pytest.mark.data
def test_the_real_files(real_data: Path) -> None:
    counts = {"c3-m-dev.json": 1991, "c3-d-train.json.gz": 5856}
    for name, count in counts.items():
        rows = list(source(real_data / "c3" / name).rows("train"))
        assert len(rows) == count
        assert all(2 <= len(row.fields["options"]) <= 4 for row in rows)
