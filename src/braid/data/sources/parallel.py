"""Parallel text files: line k of each belongs to row k (slot filling's `seq.in`, `seq.out`, `label`; translations)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

from pydantic import Field

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines, sha256_of


class Parallel(FileSource):
    """Text files whose lines belong together: the input in `path`, labels (or a pair) in others, one row a line."""

    type: Literal["parallel"] = "parallel"

    labels: dict[str, str] = Field(default_factory=dict)
    """Field name to file: `{slots: seq.out, intent: label}`. A name without a folder stands beside `path`."""

    words: bool = False
    """Whether the lines of `path` are words with spaces between them (`words`); else they are the `text`."""

    lists: list[str] = Field(default_factory=list)
    """Fields whose lines are lists with spaces between their members, such as a tag for each word."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line that is not blank in `path`. Raises DataError where the files differ in length."""
        problems = Problems(self.path)
        named = {name: self._beside(file) for name, file in self.labels.items()}
        streams = [lines(self.path, self.encoding), *(lines(file, self.encoding) for file in named.values())]
        for number, row in enumerate(zip_longest(*streams), start=1):
            short = [file for file, line in zip((self.path, *named.values()), row, strict=True) if line is None]
            if short:
                todo = "line k of each file must belong to the same row"
                problems.add(f"{', '.join(short)} ended before line {number}, the others did not", todo=todo)
                break
            text, *others = (line[1] for line in row if line is not None)
            if not text.strip():
                continue
            fields: dict[str | int, object] = {"words": text.split()} if self.words else {"text": text}
            for name, value in zip(named, others, strict=True):
                fields[name] = value.split() if name in self.lists else value.strip()
            yield SourceRow(fields=fields, line=number, file=self.path)
        problems.finish()

    def _beside(self, file: str) -> str:
        return file if os.path.dirname(file) else os.path.join(os.path.dirname(self.path), file)

    def fingerprint(self, split: str) -> str | None:
        """sha256 over all the files."""
        return hashlib.sha256("".join(map(sha256_of, self.files())).encode()).hexdigest()

    def files(self) -> list[str]:
        """The input's file and the labels'."""
        return [self.path, *(self._beside(file) for file in self.labels.values())]
