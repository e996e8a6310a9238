"""Files that are predicted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from braid.data.example import Example
from braid.errors import DataError
from braid.predict.inputs import read_inputs


def texts(path: Path) -> list[tuple[str, str | None]]:
    return [(example.text, example.pair) for example in read_inputs(str(path))]


def test_a_table_is_read_by_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("label\ttext_a\ttext_b\n1\tgood food\tnot bad\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text('text,mood\n"yes, please",x\n', encoding="utf-8")
    assert texts(tmp_path / "a.tsv") == [("good food", "not bad")]
    assert texts(tmp_path / "a.csv") == [("yes, please", None)]


def test_a_broken_first_row_is_not_taken_for_a_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text('{"text": "a"\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.txt:1: not valid JSON"):
        texts(path)
    path.write_text("{laughs} hello\n", encoding="utf-8")
    assert texts(path) == [("{laughs} hello", None)]


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a"}, {"text": "b", "pair": "c"}]',
        '[\n  {"text": "a"},\n  {"text": "b", "pair": "c"}\n]\n',
        '{"version": 1, "data": [{"text": "a"}, {"text": "b", "pair": "c"}]}',
        '{"text": "a"}\n{"text": "b", "pair": "c"}\n',
    ],
)
def test_a_json_file_is_read_as_training_data_are(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content, encoding="utf-8")
    assert texts(path) == [("a", None), ("b", "c")]


def test_what_is_wrong_in_a_json_file_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"text": "a"}, {"pair": "c"}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.json:2: a row needs `text`"):
        texts(path)
    path.write_text('[{"text": "a"}, 3]', encoding="utf-8")
    with pytest.raises(DataError, match="element 2 of the array is no object"):
        texts(path)


def test_labels_of_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a", "mood": "good", "pair": None}) + "\n", encoding="utf-8")
    (found,) = read_inputs(str(path))
    assert isinstance(found, Example)
    assert found.labels == {"mood": "good"}
