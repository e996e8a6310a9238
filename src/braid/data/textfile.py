"""Text files as they come: gzip or not, with or without a byte-order mark, in the encoding the user said or not.

A line ends at `\\n` or `\\r\\n` and nowhere else: U+2028, U+0085, form feeds and the like are characters of the text.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import IO, Any, Never

from braid.errors import DataError, Place, Problem, did_you_mean, nearest

GZIP_MAGIC = b"\x1f\x8b"
HEAD = 1 << 16
"""Bytes looked at to tell a binary file from text."""
BINARY_SHARE = 0.05
"""Share of NUL bytes in the head from which a file is no text: real text has none, UTF-16 of Latin text has half."""
GUESS_LIMIT = 1 << 26
"""Bytes read to say what an undecodable file might be."""

_hashes: dict[tuple[str, int, int], str] = {}


def sha256_of(path: str) -> str:
    """sha256 of a file's bytes as they are on disk. Raises DataError if it cannot be read."""
    with _opened(path) as file:
        state = os.fstat(file.fileno())
        key = (os.path.abspath(path), state.st_size, state.st_mtime_ns)
        if key not in _hashes:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        return _hashes[key]


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """A file's content, decompressed if its first bytes say gzip.

    Raises DataError, also for what goes wrong while the caller reads: missing, a directory, not permitted, bad gzip.
    """
    with _opened(path) as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as content:
            try:
                yield content  # type: ignore[misc]
            except EOFError:
                _fail(path, "the gzip file is truncated: it ends before its content does", todo="fetch the file again")
            except (zlib.error, gzip.BadGzipFile) as error:
                _fail(path, f"the gzip file is damaged: {error}", todo="fetch the file again")


def lines(path: str, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers from 1, without line ends and byte-order mark.

    Raises DataError: what `open_bytes` raises, an unknown encoding, bytes that do not decode, binary content.
    """
    _check_encoding(path, encoding)
    with open_bytes(path) as raw:
        _check_binary(path, raw, encoding)
        number = 0
        try:
            with TextIOWrapper(raw, encoding=encoding, newline="\n") as text:
                for number, line in enumerate(text, start=1):
                    if number == 1:
                        line = line.removeprefix("\ufeff")
                    if line.endswith("\n"):
                        line = line[:-2] if line.endswith("\r\n") else line[:-1]
                    yield number, line
        except UnicodeError:
            # The decoder works block by block, so where the bad bytes stand has to be found by a second look.
            _explain_encoding(path, encoding, number)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        file = open(path, "rb")  # noqa: SIM115 (errors of opening and of reading are told apart)
    except FileNotFoundError:
        _missing(path)
    except IsADirectoryError:
        _fail(path, "this is a directory, not a file", todo="name a file in it")
    except PermissionError:
        _fail(path, "no permission to read this file", todo="change its permissions, or run as a user who may read it")
    except (OSError, ValueError) as error:
        _fail(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    with file:
        yield file


def _missing(path: str) -> Never:
    full = os.path.abspath(path)
    folder, name = os.path.split(full)
    if not os.path.isdir(folder):
        todo = "its folder does not exist either"
    else:
        near = nearest(name, sorted(os.listdir(folder)))
        todo = f"did you mean {os.path.join(folder, near)!r}?" if near else "relative paths start at the current folder"
    _fail(full, "there is no such file", todo=todo)


def _check_encoding(path: str, encoding: str) -> None:
    known = (
        "utf-8",
        "utf-16",
        "utf-32",
        "gb18030",
        "gbk",
        "big5",
        "cp1252",
        "latin-1",
        "shift_jis",
        "euc_jp",
        "euc_kr",
    )
    try:
        if codecs.lookup(encoding)._is_text_encoding:
            return
    except LookupError:
        pass
    _fail(path, f"there is no text encoding {encoding!r}", todo=did_you_mean(encoding, known))


def _check_binary(path: str, raw: IO[bytes], encoding: str) -> None:
    head = raw.read(HEAD)
    raw.seek(0)
    if head.count(0) <= len(head) * BINARY_SHARE or codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        guess: str | None = "utf-16"
    else:
        odd, even = head[1::2].count(0), head[0::2].count(0)
        guess = "utf-16-le" if odd > 4 * even else "utf-16-be" if even > 4 * odd else None
    if guess is None:
        _fail(path, "this is a binary file, not text", todo="if its format is one of ours, name it with `type:`")
    _fail(path, f"the file is full of NUL bytes: it {_looks_like(guess)}", todo=_advice(guess))


def _explain_encoding(path: str, encoding: str, decoded_lines: int) -> Never:
    with open_bytes(path) as raw:
        data = raw.read(GUESS_LIMIT)
    # Past the limit the place is not known to the byte; the lines that were read are near enough.
    start, end, number = len(data), len(data), decoded_lines + 1
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        if len(data) < GUESS_LIMIT or error.end < GUESS_LIMIT:
            start, end = error.start, max(error.end, error.start + 1)
            number = error.object[:start].decode(encoding, errors="ignore").count("\n") + 1
    except UnicodeError as error:
        # utf-16 and utf-32 without their byte-order mark raise this bare kind.
        _fail(path, f"not {encoding}: {error}", todo=_advice("utf-8"))
    found = " ".join(f"{byte:02x}" for byte in data[start : min(end + 3, start + 8)])
    guess = _guess(data)
    what = f"bytes {found} are not {encoding}" if found else f"there are bytes that are not {encoding}"
    if guess is None or codecs.lookup(guess).name == codecs.lookup(encoding).name:
        todo = "add `encoding: NAME` to the source, or repair the file"
    else:
        what += f": the file {_looks_like(guess)}"
        todo = _advice(guess)
    _fail(path, what, line=number, todo=todo)


def _guess(data: bytes) -> str | None:
    """The encoding that undecodable text most likely has."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    high = sum(map(len, re.findall(rb"[\x80-\xff]+", data)))
    # In Chinese text nearly all high bytes stand in pairs of GB 2312; in Western text they stand alone.
    paired = 2 * len(re.findall(rb"[\xa1-\xf7][\xa1-\xfe]", data))
    western = high and paired < 0.6 * high
    for name in ("utf-8", "gb18030", "big5", "shift_jis"):
        if not (western and name == "gb18030") and _decodes(data, name):
            return name
    return "cp1252" if western and _decodes(data, "cp1252") else None


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _looks_like(encoding: str) -> str:
    return f"looks like {encoding.upper()}"


def _advice(encoding: str) -> str:
    return f"add `encoding: {encoding}` to the source"


def _fail(path: str, what: str, *, line: int | None = None, todo: str | None = None) -> Never:
    raise DataError([Problem(what=what, place=Place(file=path, line=line), todo=todo)]) from None


class Problems:
    """Collects the problems of one file, so that a user hears of many at once; raises when there are `limit`."""

    limit = 20

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, what: str, *, line: int | None = None, column: int | None = None, todo: str | None = None) -> None:
        """Note one problem. Raises DataError with all of them when it is the last that is wanted."""
        self.found.append(Problem(what=what, place=Place(file=self.file, line=line, column=column), todo=todo))
        if len(self.found) >= self.limit:
            self.finish(title=f"{self.file}: stopped after {self.limit} problems")

    def finish(self, *, title: str | None = None) -> None:
        """Raise DataError if there was any problem."""
        if self.found:
            raise DataError(self.found, title=title)


def shown(value: Any, *, limit: int = 60) -> str:
    """A value for a message: its repr (lone surrogates and control characters escaped), shortened."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
