"""Column files, one token a line, a blank line after each sentence: CoNLL shared tasks, BIO and BMES files, CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines, shown

Token = tuple[int, list[str]]
"""A line's number and its columns."""

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

_SPACES = re.compile(r"[ \t]+")
_TAG = re.compile(r"O|[BI]-.+")
_POSITIONED = re.compile(r"(.+?)(\d+)", re.DOTALL)


class Columns(FileSource):
    """What both formats have in common: sentences of lines of columns."""

    def _sentences(self, problems: Problems, separator: str, comments: bool) -> Iterator[tuple[list[str], list[Token]]]:
        """Comments and tokens of every sentence whose lines all have the same number of columns."""
        notes: list[str] = []
        tokens: list[Token] = []
        ragged = False
        for number, line in lines(self.path, self.encoding):
            if not line.strip(" \t"):
                if tokens and not ragged:
                    yield notes, tokens
                notes, tokens, ragged = [], [], False
                continue
            if comments and line.startswith("#"):
                notes.append(line)
                continue
            tab = separator == "tab" or (separator == "auto" and "\t" in line)
            cells = line.split("\t") if tab else _at_spaces(line)
            if tokens and len(cells) != len(tokens[0][1]):
                expected, first = len(tokens[0][1]), tokens[0][0]
                what = f"found {len(cells)} columns, expected {expected} as in line {first}, where the sentence starts"
                problems.add(what, line=number, todo="a sentence ends with a blank line; see also `separator:`")
                ragged = True
            tokens.append((number, cells))
        if tokens and not ragged:
            yield notes, tokens


class Conll(Columns):
    """Column files. A row has every column's values by its number (0, 1, ...; -1 is the last), `words` (column 0) and,
    if there are two or more columns, `label` (the last). -DOCSTART- lines are left out."""

    type: Literal["conll"] = "conll"
    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".bio", ".bmes", ".bioes", ".iob")

    separator: Literal["auto", "tab", "space"] = "auto"
    """What separates columns. `space`: any run of spaces and tabs. `auto`: tab in lines that have one, else space."""

    comments: bool = False
    """Whether lines that start with # are comments. In most files # is a token like any other."""

    columns_named: list[str] | None = None
    """Names for the columns, in order; a column called `words`, `form` or `tokens` holds the words."""

    word_position: bool = False
    """Tokens are characters followed by their place in their word (`北0 京1`, as in Weibo NER): the number is taken off
    and the words it tells become the field `segmentation`, tags B, M, E, S."""

    scheme: Literal["as_is", "iob1"] = "as_is"
    """`iob1`: columns of IOB1 tags (CoNLL-2003: `I-` starts an entity, `B-` only one that touches another of its type)
    are turned into BIO."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per sentence; its `line` is that of its first token. Raises DataError on ragged sentences."""
        problems = Problems(self.path)
        for _, tokens in self._sentences(problems, self.separator, self.comments):
            line, first = tokens[0]
            if first[0].startswith("-DOCSTART-"):
                tokens = tokens[1:]
                if not tokens:
                    continue
            columns = [list(column) for column in zip(*(cells for _, cells in tokens), strict=True)]
            fields = self._fields(columns, [number for number, _ in tokens], problems)
            if fields is not None:
                yield SourceRow(fields=fields, line=line, file=self.path)
        problems.finish()

    def _fields(self, columns: list[list[str]], numbers: list[int], problems: Problems) -> dict[str | int, Any] | None:
        names = self.columns_named or []
        if len(names) > len(columns):
            what = f"found {len(columns)} columns, but `columns_named` has {len(names)} names"
            problems.add(what, line=numbers[0])
            return None
        at = next((k for k, name in enumerate(names) if name in ("words", "form", "tokens")), 0)
        empty = [number for number, word in zip(numbers, columns[at], strict=True) if not word]
        for number in empty:
            problems.add("the token is empty", line=number)
        if empty:
            return None
        if self.scheme == "iob1":
            columns = [bio(column) if k != at and _is_tags(column) else column for k, column in enumerate(columns)]
        fields: dict[str | int, Any] = {}
        if self.word_position:
            parts = [_POSITIONED.fullmatch(word) for word in columns[at]]
            for number, part, word in zip(numbers, parts, columns[at], strict=True):
                if part is None:
                    problems.add(f"{shown(word)} does not end in its position in the word", line=number)
            if None in parts:
                return None
            columns[at] = [part[1] for part in parts if part]
            fields["segmentation"] = _segmentation([int(part[2]) for part in parts if part])
        fields["words"] = columns[at]
        if len(columns) > 1 and not names:
            fields["label"] = columns[-1]
        fields.update(zip(names, columns, strict=False))
        fields.update(enumerate(columns))
        fields[-1] = columns[-1]
        return fields


class Conllu(Columns):
    """Universal Dependencies' CoNLL-U. A row has the ten columns by name (`form`, `upos`, `head`, ...), `words`,
    `dependencies` ({heads, relations}) and `text`. Ranges (1-2) and empty nodes (1.1) are no words and are left out."""

    type: Literal["conllu"] = "conllu"
    suffixes: ClassVar[tuple[str, ...]] = (".conllu",)

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per sentence; `head` holds integers, 0 being the root. Raises DataError on broken sentences."""
        problems = Problems(self.path)
        for notes, tokens in self._sentences(problems, "tab", comments=True):
            line, first = tokens[0]
            if len(first) != len(CONLLU_COLUMNS):
                what = f"found {len(first)} columns, expected the {len(CONLLU_COLUMNS)} of CoNLL-U, separated by tabs"
                problems.add(what, line=line, todo="other column files are read with `type: conll`")
                continue
            words = [(number, cells) for number, cells in tokens if "-" not in cells[0] and "." not in cells[0]]
            fields = self._fields(words, problems)
            if fields is None:
                continue
            for note in notes:
                key, equals, value = note[1:].partition("=")
                if equals and key.strip() == "text":
                    fields["text"] = value.strip()
            yield SourceRow(fields=fields, line=line, file=self.path)
        problems.finish()

    def _fields(self, words: list[Token], problems: Problems) -> dict[str | int, Any] | None:
        before = len(problems.found)
        for place, (number, cells) in enumerate(words, start=1):
            if cells[0] != str(place):
                problems.add(f"the word's id is {shown(cells[0])}, expected {place}", line=number)
            elif not cells[1]:
                problems.add("the word's form is empty", line=number)
            elif cells[6] != "_" and not (cells[6].isdecimal() and int(cells[6]) <= len(words)):
                problems.add(f"the head {shown(cells[6])} is no number from 0 to {len(words)}", line=number)
            if len(problems.found) > before:
                return None
        columns = [list(column) for column in zip(*(cells for _, cells in words), strict=True)]
        fields: dict[str | int, Any] = dict(zip(CONLLU_COLUMNS, columns, strict=False))
        fields.update(enumerate(columns))
        fields["words"] = fields["form"]
        if "_" not in fields["head"]:
            fields["head"] = [int(head) for head in fields["head"]]
            fields["dependencies"] = {"heads": fields["head"], "relations": fields["deprel"]}
        return fields


def bio(tags: list[str]) -> list[str]:
    """IOB1 tags as BIO: every entity starts with `B-`."""
    out, before = [], "O"
    for tag in tags:
        starts = tag.startswith("I-") and before[2:] != tag[2:]
        out.append("B-" + tag[2:] if starts else tag)
        before = tag
    return out


def _is_tags(column: list[str]) -> bool:
    return all(_TAG.fullmatch(value) for value in set(column))


def _at_spaces(line: str) -> list[str]:
    """The line divided at runs of spaces and tabs only: `str.split()` would also divide at U+3000 and the like."""
    cells = line.strip(" \t").split(" ")
    return cells if "" not in cells and "\t" not in line else _SPACES.split(line.strip(" \t"))


def _segmentation(positions: list[int]) -> list[str]:
    """BMES tags from each character's position in its word; a word starts at 0."""
    starts = [k == 0 or position == 0 for k, position in enumerate(positions)]
    ends = [*starts[1:], True]
    names = {(True, True): "S", (True, False): "B", (False, False): "M", (False, True): "E"}
    return [names[start, end] for start, end in zip(starts, ends, strict=True)]
