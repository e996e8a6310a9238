"""What may be predicted on: strings, pairs, words, rows; lines of a file or of standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO

from braid.config.families import DataConfig
from braid.data.example import Example
from braid.data.examples import read_split
from braid.data.sources.jsonl import Json
from braid.data.textfile import lines
from braid.data.units import join_words, locate_words
from braid.errors import BraidError, DataError, Place, Problem

TABLES = (".tsv", ".csv", ".parquet", ".pq", ".arrow")
INPUT = ("text", "pair", "words", "query", "options")
"""Keys of a row that are no labels."""

Input = str | tuple[str, str] | Mapping[str, Any] | Example


def example_of(given: Input, *, place: Place | None = None) -> Example:
    """One input: a text, a (text, pair) tuple, or a row with `text` (and `pair`) or `words`. Raises BraidError."""
    if isinstance(given, Example):
        return given
    if isinstance(given, str):
        return Example(given, place=place)
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return Example(given[0], given[1], place=place)
    if isinstance(given, Mapping):
        return _row(given, place)
    raise BraidError(
        f"cannot predict on {type(given).__name__}: give a text, (text, pair), or a row such as "
        '{"text": ...}, {"text": ..., "pair": ...}, {"text": ..., "options": [...]}, {"words": [...]}'
    )


def _row(row: Mapping[str, Any], place: Place | None) -> Example:
    text, pair, words = row.get("text"), row.get("pair"), row.get("words")
    if words is not None:
        if not isinstance(words, Sequence) or isinstance(words, str) or not all(isinstance(w, str) for w in words):
            raise BraidError("`words` must be a list of strings")
        words = tuple(words)
        if any(not word for word in words):
            raise BraidError("`words` holds an empty string")
        if not isinstance(text, str) or locate_words(text, words) is None:
            text = join_words(words)[0]
    if not isinstance(text, str):
        raise BraidError(f"a row needs `text` (a string) or `words`; it has {', '.join(map(repr, row)) or 'nothing'}")
    if pair is not None and not isinstance(pair, str):
        raise BraidError(f"`pair` must be a string, not {type(pair).__name__}")
    query, options = row.get("query"), row.get("options")
    if options is not None and not (
        isinstance(options, list | tuple) and all(isinstance(o, str) and o for o in options)
    ):
        raise BraidError("`options` must be a list of strings that are not empty")
    return Example(
        text,
        pair,
        words,
        {key: value for key, value in row.items() if key not in INPUT and value is not None},
        place,
        query=None if query is None else str(query),
        options=None if options is None else tuple(options),
    )


def read_inputs(path: str) -> Iterator[Example]:
    """Inputs of a file (or of standard input, `-`), streaming, one a line. Tables (tsv, csv, parquet, arrow) and .json,
    an array or an object a line, are read as training data are, whole.

    Lines are JSON rows if the first line that is not blank is one (or the file is called .jsonl), else plain texts;
    an empty plain line is an empty text, so that lines out match lines in. Raises DataError with file:line."""
    if path.removesuffix(".gz").endswith(TABLES):
        data = DataConfig.model_validate({"train": path})
        yield from read_split(data, "train", task="label", seed=0).examples
        return
    if path.removesuffix(".gz").endswith(".json"):
        for row in Json(path=path).rows("predict"):
            yield _example(row.fields, Place(file=path, line=row.line))
        return
    numbered = _stdin() if path == "-" else lines(path, "utf-8")
    name = "standard input" if path == "-" else path
    head = []
    for number, line in numbered:
        head.append((number, line))
        if line.strip():
            break
    as_json = path.removesuffix(".gz").endswith(".jsonl") or bool(head and _is_row(head[-1][1]))
    for number, line in chain(head, numbered):
        place = Place(file=name, line=number)
        if not as_json:
            yield Example(line, place=place)
        elif line.strip():
            yield _json_row(line, place)


def _is_row(line: str) -> bool:
    # A broken row is still no text: what is wrong with it is said when it is read.
    return line.lstrip("\ufeff \t").startswith('{"')


def _json_row(line: str, place: Place) -> Example:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError([Problem(what=f"not valid JSON: {error}", place=place)]) from error
    return _example(row, place)


def _example(row: Any, place: Place) -> Example:
    try:
        return example_of(row, place=place)
    except BraidError as error:
        raise DataError([Problem(what=str(error), place=place)]) from error


def _stdin() -> Iterator[tuple[int, str]]:
    stream: BinaryIO = sys.stdin.buffer
    for number, raw in enumerate(stream, 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            place = Place(file="standard input", line=number)
            raise DataError([Problem(what=f"not UTF-8: {error.reason}", place=place)]) from error
        yield number, line.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")


def chunked(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    """Lists of `size` examples; longer where neighbours share a query, which are ranked against each other."""
    chunk: list[Example] = []
    for example in examples:
        if len(chunk) >= size and example.query != chunk[-1].query:
            yield chunk
            chunk = []
        chunk.append(example)
        if len(chunk) >= size and example.query is None:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
