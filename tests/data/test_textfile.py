"""Reading text files: line ends, compression, encodings, and what is said when they are broken."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from braid.data.textfile import lines, sha256_of
from braid.errors import DataError


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def error(path: str, encoding: str = "utf-8") -> str:
    with pytest.raises(DataError) as caught:
        list(lines(path, encoding))
    return str(caught.value)


def test_lines_end_at_lf_and_crlf_only(tmp_path: Path) -> None:
    text = "a\u2028b\n\x0b\x0c\x85\x1c\r\nc\rd\r\n\nlast"
    path = write(tmp_path / "x.txt", text.encode())
    assert list(lines(path)) == [(1, "a\u2028b"), (2, "\x0b\x0c\x85\x1c"), (3, "c\rd"), (4, ""), (5, "last")]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(write(tmp_path / "x.txt", b""))) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "gb18030"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "x.txt", "\ufeff中\n\ufeff".encode(encoding))
    assert list(lines(path, encoding)) == [(1, "中"), (2, "\ufeff")]


@pytest.mark.parametrize("name", ["x.txt.gz", "x.txt"])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, gzip.compress("一\n二\n".encode()))
    assert list(lines(path)) == [(1, "一"), (2, "二")]


def test_a_long_line_stays_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"a" * 100_000 + b"\nb")
    assert [len(line) for _, line in lines(path)] == [100_000, 1]


def test_a_missing_file_is_named_in_full_with_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", b"")
    message = error(str(tmp_path / "trian.tsv"))
    assert f"{tmp_path}/trian.tsv: there is no such file" in message
    assert f"did you mean '{tmp_path}/train.tsv'?" in message
    assert "its folder does not exist either" in error(str(tmp_path / "no" / "x"))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "this is a directory" in error(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"x")
    os.chmod(path, 0)
    assert "no permission" in error(path)


@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_truncated_gzip(tmp_path: Path, keep: float) -> None:
    content = gzip.compress(os.urandom(4000).hex().encode())
    path = write(tmp_path / "x.gz", content[: int(len(content) * keep)])
    assert "truncated" in error(path)


def test_damaged_gzip(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(os.urandom(4000).hex().encode()))
    content[len(content) // 2] ^= 0xFF
    assert "damaged" in error(write(tmp_path / "x.gz", bytes(content)))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("第一行\n第二行，都是中文\n".encode("gb18030"), "gb18030"),
        ("第一行\n".encode("utf-16"), "utf-16"),
        ("le premier caf\u00e9 \u00e0 Paris\n".encode("cp1252"), "cp1252"),
    ],
)
def test_the_wrong_encoding_is_recognised(tmp_path: Path, content: bytes, name: str) -> None:
    message = error(write(tmp_path / "x.txt", content))
    assert f"looks like {name.upper()}" in message
    assert f"add `encoding: {name}` to the source" in message


def test_bad_bytes_are_shown_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "好\n".encode() * 10_000 + b"ok \xff\xfe\n")
    message = error(path)
    assert f"{path}:10001: bytes ff fe 0a are not utf-8" in message


def test_bytes_that_are_not_of_the_encoding_that_was_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "中文文本\n谢谢！\n".encode())
    message = error(path, "ascii")
    assert ":1: bytes e4" in message
    assert "add `encoding: utf-8`" in message


def test_utf16_without_a_mark_and_binaries_are_no_text(tmp_path: Path) -> None:
    assert "add `encoding: utf-16-le`" in error(write(tmp_path / "a", "plain text\n".encode("utf-16-le") * 9))
    assert "binary file" in error(write(tmp_path / "b", b"\x00\x01\x00\x00" * 99))


def test_a_lone_nul_is_a_character(tmp_path: Path) -> None:
    assert list(lines(write(tmp_path / "x", b"a\x00b" + b"c" * 99))) == [(1, "a\x00b" + "c" * 99)]


@pytest.mark.parametrize(("name", "near"), [("uft-8", "utf-8"), ("gb1803", "gb18030"), ("base64", "allowed")])
def test_an_unknown_encoding(tmp_path: Path, name: str, near: str) -> None:
    message = error(write(tmp_path / "x", b"a"), name)
    assert f"no text encoding {name!r}" in message
    assert near in message


def test_sha256_is_of_the_bytes_and_follows_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"one")
    assert sha256_of(path) == sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    write(tmp_path / "x", b"three")
    assert sha256_of(path) == hashlib.sha256(b"three").hexdigest()
    with pytest.raises(DataError, match="no such file"):
        sha256_of(path + "x")
