"""The documents of a corpus, streamed from its sources, in chunks that are the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from braid.data.columns import UnclearColumnsError, roles
from braid.data.example import SourceRow
from braid.data.sources.base import Source
from braid.data.textfile import shown
from braid.errors import DataError, Place, Problem

CHUNK_CHARACTERS = 4_000_000
"""Text of one chunk, which is the unit of work of a process, of resuming, and of dividing among machines."""

LONGEST = 100_000
"""Characters given to the tokenizer at once: what it keeps of each takes fifty times the text's own space."""


@dataclass
class Documents:
    """Streams the documents of sources. *columns*: our names to the sources'; *left_out*: reason -> how many, filled
    while streaming; *size*: bytes of the files, None where that is not known."""

    sources: Sequence[Source]
    columns: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        """Each document; its lines are sentences where it has several.

        Raises DataError for rows that hold no text."""
        for source in self.sources:
            for row in source.rows("train"):
                text = _text(row, {**self.columns, **source.columns})
                if text.strip():
                    yield text
                else:
                    self.left_out["empty text"] = self.left_out.get("empty text", 0) + 1


def _text(row: SourceRow, columns: Mapping[str, Any]) -> str:
    name = "text" if len(row.fields) == 1 and "text" in row.fields else _column(row, columns)
    value = row.fields.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if value is None:
        return ""
    raise _problem(row, f"the text in {name!r} is no string: {shown(value)}")


def _column(row: SourceRow, columns: Mapping[str, Any]) -> str | int:
    if "text" in columns:
        name: str | int = columns["text"]
        if name not in row.fields:
            raise _problem(row, f"the row has no {name!r}, which is to be its text")
        return name
    try:
        found = roles(row.fields, {}, "")
    except UnclearColumnsError as error:
        raise _problem(row, error.what, error.todo) from error
    name_or_none = found.text if found.text is not None else found.words
    if name_or_none is None:
        raise _problem(row, "the row has no text; say which column it is: `columns: {text: NAME}`")
    return name_or_none


def _problem(row: SourceRow, what: str, todo: str | None = None) -> DataError:
    return DataError([Problem(what=what, place=Place(file=row.file, line=row.line), todo=todo)])


def chunks(documents: Iterable[str], size: int = CHUNK_CHARACTERS) -> Iterator[list[str]]:
    """Consecutive documents, about `size` characters in each chunk."""
    chunk: list[str] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document)
        if characters >= size:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def pieces(text: str) -> list[str]:
    """A text in pieces of at most LONGEST characters, cut at a space or a sentence's end where there is one."""
    found, start = [], 0
    while len(text) - start > LONGEST:
        half, end = start + LONGEST // 2, start + LONGEST
        cut = max(text.rfind(mark, half, end) for mark in (" ", "。", "！", "？", "\t"))
        found.append(text[start : cut + 1 if cut >= 0 else end])
        start += len(found[-1])
    return [*found, text[start:]] if start < len(text) or not found else found
