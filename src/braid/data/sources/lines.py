"""Plain text, one text a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import lines


class Lines(FileSource):
    """One text a line, as `text`. Blank lines are skipped."""

    type: Literal["lines"] = "lines"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line that is not blank."""
        for number, line in lines(self.path, self.encoding):
            if line.strip():
                yield SourceRow(fields={"text": line}, line=number, file=self.path)
