"""Tables: tsv, csv, parquet, Arrow, and text by the line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from braid.data.example import SourceRow
from braid.data.sources.base import Source
from braid.data.sources.columnar import Arrow, Parquet
from braid.data.sources.delimited import Csv, Tsv
from braid.data.sources.lines import Lines
from braid.errors import DataError


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows(source: Source) -> list[SourceRow]:
    return list(source.rows("train"))


def fields(source: Source) -> list[dict[str | int, Any]]:
    return [row.fields for row in rows(source)]


def error(source: Source) -> str:
    with pytest.raises(DataError) as caught:
        rows(source)
    return str(caught.value)


def test_tsv_leaves_quotes_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", '\ufeffQuality\t#1 String\r\n1\tsay "hi\r\n\r\n0\t"quoted"\r\n')
    assert [(row.line, row.fields) for row in rows(Tsv(path=path))] == [
        (2, {"Quality": "1", "#1 String": 'say "hi'}),
        (4, {"Quality": "0", "#1 String": '"quoted"'}),
    ]


def test_csv_cells_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'id,text\n1,"a, ""b""\r\nsecond"\n2,plain\n3,"x",\n')
    assert [(row.line, row.fields) for row in rows(Csv(path=path, ragged="allow"))] == [
        (2, {"id": "1", "text": 'a, "b"\nsecond'}),
        (4, {"id": "2", "text": "plain"}),
        (5, {"id": "3", "text": "x"}),
    ]


def test_quoting_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "x", 'a\tb\n"1\t2"\t3\n')
    assert fields(Tsv(path=path, quoting="csv")) == [{"a": "1\t2", "b": "3"}]
    path = write(tmp_path / "y", 'a,b\n"1,2"\n')
    assert fields(Csv(path=path, quoting="none")) == [{"a": '"1', "b": '2"'}]


def test_an_open_quote_is_reported_where_it_opens(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'a,b\n1,2\n3,"never\nclosed\n')
    message = error(Csv(path=path))
    assert f"{path}:3: a quote that is opened here is never closed" in message
    assert "quoting: none" in message


@pytest.mark.parametrize(
    ("header", "keys", "n"), [(True, ["a", "b"], 1), (False, [0, 1], 2), (["text", "label"], ["text", "label"], 2)]
)
def test_headers(tmp_path: Path, header: bool | list[str], keys: list[str | int], n: int) -> None:
    found = fields(Tsv(path=write(tmp_path / "x", "a\tb\n1\t2\n"), header=header))
    assert len(found) == n
    assert list(found[0]) == keys


def test_a_header_names_no_column_twice(tmp_path: Path) -> None:
    message = error(Tsv(path=write(tmp_path / "x", "a\tb\ta\n1\t2\t3\n")))
    assert ":1: the header names a column twice: 'a'" in message
    assert "header: false" in message


def test_a_nameless_column_is_known_by_its_place(tmp_path: Path) -> None:
    assert fields(Csv(path=write(tmp_path / "x", ",text\n7,hello\n"))) == [{0: "7", "text": "hello"}]


def test_ragged_rows_are_all_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "a\tb\n1\n1\t2\n1\t2\t3\n")
    message = error(Tsv(path=path))
    assert f"{path}:2: found 1 column, expected 2 as in the header" in message
    assert f"{path}:4: found 3 columns, expected 2 as in the header" in message
    assert "as in line 1" in error(Tsv(path=path, header=False))
    assert fields(Tsv(path=path, ragged="allow")) == [{"a": "1", "b": None}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}]


def test_at_most_twenty_problems_are_collected(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "a\tb\n" + "1\n" * 1000)
    with pytest.raises(DataError) as caught:
        rows(Tsv(path=path))
    assert len(caught.value.problems) == 20
    assert "stopped after 20 problems" in str(caught.value)


def test_a_cell_of_a_million_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", 'a\n"' + "x" * 1_000_000 + '"\n')
    assert len(fields(Csv(path=path))[0]["a"]) == 1_000_000


def test_a_table_without_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "")
    assert "the file is empty" in error(Tsv(path=path))
    assert rows(Tsv(path=path, header=False)) == []


@pytest.mark.parametrize("source", [Tsv, Csv, Lines, Parquet, Arrow])
def test_a_missing_file(tmp_path: Path, source: type[Tsv]) -> None:
    assert "there is no such file" in error(source(path=str(tmp_path / "x")))


def test_lines_are_texts(tmp_path: Path) -> None:
    found = rows(Lines(path=write(tmp_path / "x.txt", "one\n \n\u3000\ntwo \u2028x\n")))
    assert [(row.line, row.fields) for row in found] == [(1, {"text": "one"}), (4, {"text": "two \u2028x"})]


TABLE = pa.table({"text": ["a", None, "c"], "tags": [["x"], [], None], "n": [1, 2, 3]})
RECORDS = [
    {"text": "a", "tags": ["x"], "n": 1},
    {"text": None, "tags": [], "n": 2},
    {"text": "c", "tags": None, "n": 3},
]


def columnar_files(tmp_path: Path) -> list[Source]:
    pq.write_table(TABLE, tmp_path / "x.parquet", row_group_size=2)
    with pa.ipc.new_file(tmp_path / "file.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    with pa.ipc.new_stream(tmp_path / "stream.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    sources: list[Source] = [Parquet(path=str(tmp_path / "x.parquet"))]
    sources += [Arrow(path=str(tmp_path / f"{kind}.arrow")) for kind in ("file", "stream")]
    for source in list(sources):
        packed = source.files()[0] + ".gz"
        Path(packed).write_bytes(gzip.compress(Path(source.files()[0]).read_bytes()))
        sources.append(type(source)(path=packed))  # type: ignore[call-arg]
    return sources


def test_columnar_files_are_read_in_all_their_forms(tmp_path: Path) -> None:
    for source in columnar_files(tmp_path):
        found = rows(source)
        assert [row.fields for row in found] == RECORDS, source
        assert [row.line for row in found] == [1, 2, 3]


def test_text_of_a_columnar_file_that_is_no_utf8(tmp_path: Path) -> None:
    import pyarrow as pa

    offsets = pa.py_buffer(np.array([0, 2], np.int32).tobytes())
    column = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff\xa4"))
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema({"text": pa.string()})) as to,
    ):
        to.write_batch(pa.record_batch([column], names=["text"]))
    assert "cannot be read as arrow: 'utf-8' codec" in error(Arrow(path=str(tmp_path / "a.arrow")))


def test_damaged_columnar_files(tmp_path: Path) -> None:
    for source in columnar_files(tmp_path):
        path = Path(source.files()[0])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert str(path) in error(source)
    assert "cannot be read as parquet" in error(Parquet(path=write(tmp_path / "y", "text\tlabel\n")))
    assert "cannot be read as arrow" in error(Arrow(path=write(tmp_path / "y", "text\tlabel\n")))


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1", "a\n"), write(tmp_path / "2", "a\n")
    assert Tsv(path=one).fingerprint("train") == Csv(path=two).fingerprint("dev")
    assert Tsv(path=one).fingerprint("train") != Tsv(path=write(tmp_path / "3", "b\n")).fingerprint("train")
