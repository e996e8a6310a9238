"""What a source is: a config that yields rows."""

from __future__ import annotations

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from braid.config.families import SourceConfig
from braid.data.example import SourceRow


class Source(SourceConfig, ABC):
    """Base of all sources; an instance is the config itself."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[SourceRow]:
        """The rows of one split, streaming, in file order. `SourceRow.line` counts from 1; where a format has no lines
        it is the record's number.

        Raises DataError naming file and line; never skips a row silently."""

    @abstractmethod
    def fingerprint(self, split: str) -> str | None:
        """sha256 over the content that `rows` reads; None where only the rows themselves can tell."""

    def files(self) -> list[str]:
        """The files that are read, for messages."""
        return []

    def each(self) -> list[Source]:
        """This source, or one for each file where it names several by a pattern."""
        return [self]


class FileSource(Source):
    """A source that reads one file, gzip-compressed or not."""

    path: str
    """The file, or a pattern of several (`corpus/*.txt`). A name that ends in .gz is decompressed while it is read."""

    encoding: str = "utf-8"
    """Text encoding. A byte-order mark is always skipped."""

    def fingerprint(self, split: str) -> str | None:
        from braid.data.textfile import sha256_of

        return sha256_of(self.path)

    def files(self) -> list[str]:
        return [self.path]

    def each(self) -> list[Source]:
        """One for each file that `path` matches, by name."""
        if not glob.has_magic(self.path) or os.path.exists(self.path):
            return [self]
        return [self.model_copy(update={"path": path}) for path in sorted(glob.glob(self.path, recursive=True))]
