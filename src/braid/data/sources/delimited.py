"""Tables in text: tab-separated and comma-separated files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import chain
from typing import ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines
from braid.errors import DataError, Place, Problem

Record = tuple[int, list[str]]
"""The line where a record starts, and its cells."""

# The csv module refuses cells over 131,072 characters by default; a document may well be longer.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


class Delimited(FileSource):
    """What both have in common. Blank lines are skipped."""

    delimiter: ClassVar[str]
    quotes_by_default: ClassVar[bool]

    header: bool | list[str] = True
    """True: the first line names the columns. False: there is none, columns are numbered from 0. A list: there is none,
    these are the names."""

    quoting: Literal["auto", "none", "csv"] = "auto"
    """`csv`: "..." quotes a cell that may hold the delimiter and line breaks, "" is a quote. `none`: quotes are
    characters like any other. `auto`: none in tsv (the files of GLUE have lone quotes), csv in csv."""

    ragged: Literal["error", "allow"] = "error"
    """What happens to rows with too few or too many cells. `allow`: missing cells are null, extra ones are left out."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per record. Raises DataError with up to 20 ragged or badly quoted records."""
        problems = Problems(self.path)
        records = self._records(problems)
        names, first_line = self._names(records)
        for line, cells in records:
            if names is None:
                # Without a header the first record says how many columns there are.
                names, first_line = list(range(len(cells))), line
            if len(cells) != len(names) and self.ragged == "error":
                where = "the header" if self.header is True else "`header`" if self.header else f"line {first_line}"
                problems.add(
                    f"found {_cells(len(cells))}, expected {len(names)} as in {where}",
                    line=line,
                    todo="repair the row, or add `ragged: allow` to the source (fills with null, drops extra cells)",
                )
                continue
            if len(cells) < len(names):
                filled: list[str | None] = [*cells, *[None] * (len(names) - len(cells))]
            else:
                filled = list(cells[: len(names)])
            yield SourceRow(fields=dict(zip(names, filled, strict=True)), line=line, file=self.path)
        problems.finish()

    def _names(self, records: Iterator[Record]) -> tuple[list[str | int] | None, int]:
        if self.header is False:
            return None, 1
        if isinstance(self.header, list):
            line, names = 1, list(self.header)
        else:
            header = next(records, None)
            if header is None:
                raise DataError([Problem(what="the file is empty, not even a header", place=Place(file=self.path))])
            line, names = header
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise DataError(
                [
                    Problem(
                        what=f"the header names a column twice: {', '.join(map(repr, twice))}",
                        place=Place(file=self.path, line=line),
                        todo="if the file has no header, add `header: false` to the source",
                    )
                ]
            )
        # A nameless column (row numbers that pandas wrote) can still be meant by its place.
        return [name or place for place, name in enumerate(names)], line

    def _records(self, problems: Problems) -> Iterator[Record]:
        quoted = self.quoting == "csv" or (self.quoting == "auto" and self.quotes_by_default)
        numbered = lines(self.path, self.encoding)
        for number, line in numbered:
            if not line.strip(" \t"):
                continue
            if not quoted or '"' not in line:
                yield number, line.split(self.delimiter)
                continue
            # The reader takes as many further lines as the quoted cell needs, and no more.
            more = chain((line,), (text for _, text in numbered))
            reader = csv.reader((text + "\n" for text in more), delimiter=self.delimiter, strict=True)
            try:
                yield number, next(reader)
            except csv.Error as error:
                todo = (
                    'write a quote inside a quoted cell as "", or add `quoting: none` if quotes are ordinary characters'
                )
                what = "a quote that is opened here is never closed" if "end of data" in str(error) else str(error)
                problems.add(what, line=number, todo=todo)


class Tsv(Delimited):
    """Tab-separated values; quotes are ordinary characters unless `quoting: csv`."""

    type: Literal["tsv"] = "tsv"
    suffixes: ClassVar[tuple[str, ...]] = (".tsv",)
    delimiter: ClassVar[str] = "\t"
    quotes_by_default: ClassVar[bool] = False


class Csv(Delimited):
    """Comma-separated values (RFC 4180); a quoted cell may hold commas and line breaks."""

    type: Literal["csv"] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    delimiter: ClassVar[str] = ","
    quotes_by_default: ClassVar[bool] = True


def _cells(n: int) -> str:
    return "1 column" if n == 1 else f"{n} columns"
