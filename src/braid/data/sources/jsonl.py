"""JSON: one object per line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines, shown


class Jsonl(FileSource):
    """JSON Lines: one object per line. Blank lines are skipped."""

    type: Literal["jsonl"] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line. Raises DataError with up to 20 lines that are no JSON object."""
        yield from _rows_of_lines(self.path, lines(self.path, self.encoding))


class Json(FileSource):
    """A JSON array of objects, an object whose `data` is one, or (as CLUE's .json files) one object per line."""

    type: Literal["json"] = "json"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per object; where the file is one array, a row's `line` is its number in it."""
        numbered = [(number, line) for number, line in lines(self.path, self.encoding) if line.strip()]
        if not numbered:
            return
        if _is_one_per_line([line for _, line in numbered[:2]]):
            yield from _rows_of_lines(self.path, iter(numbered))
            return
        problems = Problems(self.path)
        # Blank lines were left out above, so an error's line is looked up rather than counted.
        document = parse("\n".join(line for _, line in numbered), problems, [number for number, _ in numbered])
        problems.finish()
        records = document.get("data") if isinstance(document, dict) else document
        if not isinstance(records, list):
            problems.add(
                "expected an array of objects, an object with a `data` array, or one object per line",
                line=numbered[0][0],
            )
            problems.finish()
        for number, record in enumerate(records or [], start=1):
            if isinstance(record, dict):
                yield SourceRow(fields=record, line=number, file=self.path)
            else:
                problems.add(f"element {number} of the array is no object: {shown(record)}", line=number)
        problems.finish()


def _is_one_per_line(first: list[str]) -> bool:
    if not first[0].lstrip().startswith("{"):
        return False
    try:
        record = json.loads(first[0])
    except (ValueError, RecursionError):
        # A line that is closed but broken is a bad line; one that stays open is the start of a long object.
        return first[0].rstrip().endswith("}") and len(first) == 2 and first[1].lstrip().startswith("{")
    return len(first) == 2 or not isinstance(record.get("data"), list)


def _rows_of_lines(path: str, numbered: Iterator[tuple[int, str]]) -> Iterator[SourceRow]:
    problems = Problems(path)
    for number, line in numbered:
        if not line.strip():
            continue
        before = len(problems.found)
        record = parse(line, problems, [number])
        if isinstance(record, dict):
            yield SourceRow(fields=record, line=number, file=path)
        elif len(problems.found) == before:
            problems.add(f"expected a JSON object, found {shown(record)}", line=number)
    problems.finish()


def parse(text: str, problems: Problems, numbers: list[int]) -> Any:
    """One JSON value, or None and a problem. *numbers*: the file's line number of every line of `text`."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = numbers[min(error.lineno, len(numbers)) - 1] if numbers else 1
        problems.add(f"not JSON: {error.msg}", line=line, column=error.colno)
    except RecursionError:
        problems.add("nested too deeply to be read", line=numbers[0])
    except ValueError as error:
        problems.add(str(error), line=numbers[0])
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the object has a key twice: {', '.join(map(shown, twice))}")
    return record
