"""JSON sources: jsonl, json, cluener."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from braid.data.sources.base import Source
from braid.data.sources.cluener import Cluener
from braid.data.sources.jsonl import Json, Jsonl
from braid.errors import DataError


def write(path: Path, content: str) -> str:
    path.write_bytes(content.encode())
    return str(path)


def found(source: Source) -> list[tuple[int, dict[str | int, Any]]]:
    return [(row.line, row.fields) for row in source.rows("train")]


def error(source: Source) -> str:
    with pytest.raises(DataError) as caught:
        found(source)
    return str(caught.value)


def test_one_object_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '\ufeff{"text": "a\u2028b"}\r\n\r\n{"text": "\\ud800", "label": null}\n')
    assert found(Jsonl(path=path)) == [(1, {"text": "a\u2028b"}), (3, {"text": "\ud800", "label": None})]


def test_nan_and_infinity_are_passed_on(tmp_path: Path) -> None:
    [(_, row)] = found(Jsonl(path=write(tmp_path / "x", '{"a": NaN, "b": -Infinity}')))
    assert math.isnan(row["a"])
    assert row["b"] == -math.inf


def test_every_bad_line_is_reported_with_its_column(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": 1}\n{"a": 1,}\n[1]\n{"a": 1, "b": 2, "a": 3}\n"text"\n{"a"\n')
    message = error(Jsonl(path=path))
    for part in (
        f"{path}:2:9: not JSON",
        f"{path}:3: expected a JSON object, found [1]",
        f"{path}:4: the object has a key twice: 'a'",
        f"{path}:5: expected a JSON object, found 'text'",
        f"{path}:6:5: not JSON",
    ):
        assert part in message


def test_deep_nesting_and_giant_numbers_are_errors_not_crashes(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "[" * 200_000 + "\n" + '{"a": ' + "9" * 5000 + "}\n")
    message = error(Jsonl(path=path))
    assert f"{path}:1: nested too deeply" in message
    assert f"{path}:2: " in message


RECORDS = [{"text": "一"}, {"text": "two"}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2, ensure_ascii=False),
        json.dumps({"version": 1, "data": RECORDS}),
        json.dumps({"version": 1, "data": RECORDS}, indent=1),
        "\n".join(map(json.dumps, RECORDS)),
        "\n\n".join(map(json.dumps, RECORDS)) + "\n",
    ],
)
def test_json_files_are_arrays_or_objects_with_data_or_one_object_a_line(tmp_path: Path, content: str) -> None:
    assert [row for _, row in found(Json(path=write(tmp_path / "x.json", content)))] == RECORDS


def test_a_json_file_of_one_line_is_one_row(tmp_path: Path) -> None:
    assert found(Json(path=write(tmp_path / "x.json", '{"text": "a"}\n'))) == [(1, {"text": "a"})]
    assert found(Json(path=write(tmp_path / "y.json", ""))) == []


def test_errors_in_json_files(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '[\n\n {"a": 1},\n {"a" 2}\n]')
    assert f"{path}:4:7: not JSON" in error(Json(path=path))
    assert "element 2 of the array is no object: 3" in error(Json(path=write(tmp_path / "y", '[{"a": 1}, 3]')))
    assert "expected an array" in error(Json(path=write(tmp_path / "z", '{\n"a": 1\n}')))
    assert "z2:1:9: not JSON" in error(Json(path=write(tmp_path / "z2", '{"a": 1 2}\n{"a": 1}\n')))


def test_cluener_spans_get_exclusive_ends_and_are_sorted(tmp_path: Path) -> None:
    label = {"name": {"王五": [[3, 4]]}, "address": {"北京": [[0, 1]]}}
    path = write(tmp_path / "x", json.dumps({"text": "北京的王五", "label": label}) + '\n{"id": 1, "text": "无"}\n')
    assert found(Cluener(path=path)) == [
        (
            1,
            {
                "text": "北京的王五",
                "label": [{"start": 0, "end": 2, "label": "address"}, {"start": 3, "end": 5, "label": "name"}],
            },
        ),
        (2, {"id": 1, "text": "无"}),
    ]


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ({"name": {"王五": [[2, 3]]}}, "name '王五' is said to be at 2..3, but there the text has '的王'"),
        ({"name": {"王五": [[3, 9]]}}, "at 3..9"),
        ({"name": {"王五": [3]}}, "`label` is not {type"),
        (["O"], "`label` is not {type"),
    ],
)
def test_cluener_spans_must_be_where_they_say(tmp_path: Path, label: Any, part: str) -> None:
    path = write(tmp_path / "x", json.dumps({"text": "北京的王五", "label": label}))
    assert f"{path}:1: " in error(Cluener(path=path))
    assert part in error(Cluener(path=path))
