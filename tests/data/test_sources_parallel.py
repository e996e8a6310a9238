"""Parallel text files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from braid.config.families import DataConfig, SourceConfig
from braid.data.examples import read_split
from braid.data.sources.base import Source
from braid.errors import DataError


def source(path: Path, **options: Any) -> Source:
    made = SourceConfig.choose({"type": "parallel", "path": str(path), **options})
    assert isinstance(made, Source)
    return made


@pytest.fixture
def atis(tmp_path: Path) -> Path:
    (tmp_path / "seq.in").write_text("fly to rome\n\nhello \n")
    (tmp_path / "seq.out").write_text("O O B-city\n\nO\n")
    (tmp_path / "label").write_text("flight\n\ngreeting \n")
    return tmp_path / "seq.in"


def test_lines_of_all_files_are_one_row(atis: Path) -> None:
    options = {"words": True, "labels": {"slots": "seq.out", "intent": "label"}, "lists": ["slots"]}
    rows = list(source(atis, **options).rows("train"))
    assert [row.fields for row in rows] == [
        {"words": ["fly", "to", "rome"], "slots": ["O", "O", "B-city"], "intent": "flight"},
        {"words": ["hello"], "slots": ["O"], "intent": "greeting"},
    ]
    assert [row.line for row in rows] == [1, 3]
    data = DataConfig.model_validate({"train": {"type": "parallel", "path": str(atis), **options}})
    found = read_split(data, "train", task="slots", seed=1).examples
    assert [example.labels for example in found] == [{"slots": ["O", "O", "B-city"]}, {"slots": ["O"]}]


def test_texts_and_their_translations_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("good morning\n")
    with gzip.open(tmp_path / "a.zh.gz", "wt", encoding="utf-8") as file:
        file.write("早上好\n")
    (row,) = source(tmp_path / "a.en", labels={"chinese": str(tmp_path / "a.zh.gz")}).rows("train")
    assert row.fields == {"text": "good morning", "chinese": "早上好"}


def test_a_file_that_is_shorter_is_named_with_its_line(atis: Path) -> None:
    (atis.parent / "label").write_text("flight\n")
    with pytest.raises(DataError, match=r"label ended before line 2"):
        list(source(atis, labels={"intent": "label"}).rows("train"))


def test_another_label_file_is_other_data(atis: Path) -> None:
    made = source(atis, labels={"intent": "label"})
    before = made.fingerprint("train")
    (atis.parent / "label").write_text("other\n\nother\n")
    assert made.fingerprint("train") != before
    assert made.files() == [str(atis), str(atis.parent / "label")]
