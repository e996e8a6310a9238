"""The rows of a task's splits as examples: columns found, words joined, unusable rows counted, shares cut out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from braid.config.families import DataConfig
from braid.data.columns import Name, Roles, UnclearColumnsError, hint, misspelt_role, roles
from braid.data.example import Example, SourceRow
from braid.data.sources.base import Source
from braid.data.sources.cut import Cut
from braid.data.textfile import Problems, shown
from braid.data.units import join_words, locate_words
from braid.errors import DataError, Place, Problem

SPLITS = ("train", "dev", "test")
_CUT_STREAM = 0x637574
"""Keeps the random numbers of cuts apart from those of other uses of the recipe's seed."""


@dataclass(frozen=True, slots=True)
class SplitRows:
    """*examples* in file order; *skipped*: how many rows were left out, by reason; *first*: where each began."""

    examples: list[Example]
    skipped: dict[str, int] = field(default_factory=dict)
    first: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Skipped:
    reason: str
    place: Place


_Entry: TypeAlias = Example | _Skipped


def read_split(data: DataConfig, split: str, *, task: str, seed: int) -> SplitRows:
    """All rows of one split, a task's label under `labels[task]` (absent where missing).

    Rows that another split cuts out of this one are left out; which ones depends on the seed and the rows' places
    only, so tasks that read the same files are cut alike.
    Raises DataError: unreadable files, unclear columns, broken rows.
    """
    sources = _sources(data, split)
    entries: list[_Entry] = list(_read(data, split, task))
    if any(source.of == split for _, _, source in _cuts(data)):
        taken = {row for _, rows in _drawn(data, split, entries, seed) for row in rows.tolist()}
        entries = [entry for row, entry in enumerate(entries) if row not in taken]
    for origin in dict.fromkeys(source.of for source in sources if isinstance(source, Cut)):
        whole = list(_read(data, origin, task))
        for owner, rows in _drawn(data, origin, whole, seed):
            entries += [whole[row] for row in rows.tolist()] if owner == split else []
    if sources and not entries:
        files = ", ".join(dict.fromkeys(file for source in sources for file in source.files())) or "the split"
        raise DataError([Problem(what=f"{files}: there are no rows", key=f"tasks.{task}.data.{split}")])
    out = SplitRows(examples=[entry for entry in entries if isinstance(entry, Example)])
    for entry in entries:
        if isinstance(entry, _Skipped):
            out.skipped[entry.reason] = out.skipped.get(entry.reason, 0) + 1
            out.first.setdefault(entry.reason, entry.place)
    return out


def _sources(data: DataConfig, split: str) -> list[Source]:
    return [one for source in cast("list[Source]", getattr(data, split)) for one in source.each()]


def _cuts(data: DataConfig) -> Iterator[tuple[str, int, Cut]]:
    """Every cut with the split that it is for, in an order that does not depend on what is read first."""
    for split in SPLITS:
        for place, source in enumerate(_sources(data, split)):
            if isinstance(source, Cut):
                yield split, place, source


def _drawn(data: DataConfig, origin: str, entries: Sequence[_Entry], seed: int) -> list[tuple[str, np.ndarray]]:
    """Which of a split's rows every cut takes, in file order: disjoint pieces of one permutation. Rows of one query
    stay together, since they are ranked against each other."""
    if any(isinstance(source, Cut) for source in _sources(data, origin)):
        what = f"{origin} is cut from, so it cannot itself be a share of another split"
        raise DataError([Problem(what=what, key=f"data.{origin}")])
    n = len(entries)
    together = _together(entries)
    order = np.random.default_rng(np.random.SeedSequence([seed, _CUT_STREAM])).permutation(len(together))
    pieces, at = [], 0
    for split, _, source in _cuts(data):
        if source.of != origin:
            continue
        wanted, rows = max(1, round(n * source.share)), list[int]()
        while len(rows) < wanted and at < len(order):
            rows += together[order[at]]
            at += 1
        pieces.append((split, np.sort(np.array(rows, dtype=np.int64))))
    if at >= len(order):
        what = f"the shares that are cut out of {origin} leave nothing of its {n} rows"
        raise DataError([Problem(what=what, key=f"data.{origin}", todo="cut out less, or give more rows")])
    return pieces


def _together(entries: Sequence[_Entry]) -> list[list[int]]:
    """The rows of every query; each row without one alone."""
    found: dict[object, list[int]] = {}
    for row, entry in enumerate(entries):
        query = entry.query if isinstance(entry, Example) else None
        found.setdefault(row if query is None else ("query", query), []).append(row)
    return list(found.values())


def _read(data: DataConfig, split: str, task: str) -> Iterator[_Entry]:
    """Every row of the split's own sources, one entry for each."""
    for source in _sources(data, split):
        if not isinstance(source, Cut):
            yield from _SourceReader(data, source, split, task).entries()


class _SourceReader:
    """Turns the rows of one source into examples and collects what is wrong with them."""

    def __init__(self, data: DataConfig, source: Source, split: str, task: str) -> None:
        self.columns = {**data.columns, **source.columns}
        self.source, self.split, self.task = source, split, task
        self.problems = Problems((source.files() or [source.type])[0])
        self.roles: dict[tuple[Name, ...], Roles] = {}
        self.seen: dict[Name, None] = {}
        self.found: set[str] = set()
        self.lacking: list[tuple[str, int]] = []

    def entries(self) -> Iterator[_Entry]:
        any_row = False
        for row in self.source.rows(self.split):
            any_row = True
            found = self._roles_of(row)
            entry = self._example(row, found) if found is not None else None
            if entry is not None:
                yield entry
        if any_row:
            self._check_columns()
        for role, line in self.lacking:
            self.problems.add(f"the row has no {self.columns[role]!r}, which is to be its {role}", line=line)
        self.problems.finish()

    def _roles_of(self, row: SourceRow) -> Roles | None:
        # Rows of most files have the same keys; whether `tokens` holds a list is taken from the first of each kind.
        keys = tuple(row.fields)
        known = self.roles.get(keys)
        if known is not None:
            return known
        try:
            found = roles(row.fields, self.columns, self.task)
        except UnclearColumnsError as error:
            self.problems.add(error.what, line=row.line, todo=error.todo)
            if not self.roles:
                self.problems.finish()
            return None
        self.roles[keys] = found
        self.seen.update(dict.fromkeys(keys))
        for role in ("text", "pair", "words", "label", "query", "options"):
            name = getattr(found, role)
            if name is not None:
                self.found.add(self.task if role == "label" and self.task in self.columns else role)
        return found

    def _check_columns(self) -> None:
        """A mapped column that no row has is a mistake in the recipe, not in the rows."""
        wrong = []
        for role in ("text", "pair", "words", "query", "options", self.task if self.task in self.columns else "label"):
            if role in self.columns and role not in self.found:
                name = self.columns[role]
                what = f"no row has a column {name!r}, which `columns` says is the {role}"
                wrong.append(Problem(what=what, place=Place(file=self.problems.file), todo=hint(name, self.seen)))
        if not wrong and self.task not in self.found and "label" not in self.found:
            misspelt = misspelt_role(self.columns, self.task)
            if misspelt is not None:
                wrong.append(Problem(what=misspelt, key=f"tasks.{self.task}.data.columns"))
        if wrong:
            raise DataError(wrong)

    def _example(self, row: SourceRow, found: Roles) -> _Entry | None:
        """The row as an example; a reason to leave it out; or None and a problem."""
        before = len(self.problems.found)
        place = Place(file=row.file, line=row.line)
        for role in ("text", "words"):
            if role in self.columns and getattr(found, role) is None:
                self.lacking.append((role, row.line))
                return None
        words = self._words(row, found.words)
        text = self._text(row, found.text, "text", optional=words is not None)
        pair = self._text(row, found.pair, "pair", optional=True)
        options = self._options(row, found.options)
        if len(self.problems.found) > before:
            return None
        if words is not None and not words:
            return _Skipped("no words", place)
        if words is not None and (text is None or locate_words(text, words) is None):
            text = join_words(words)[0]
        if text is None or not text.strip():
            return _Skipped("empty text", place)
        if pair is not None and not pair.strip():
            return _Skipped("empty pair", place)
        label = row.fields[found.label] if found.label is not None else None
        query = row.fields[found.query] if found.query is not None else None
        return Example(
            text=text,
            pair=pair,
            words=words,
            # An empty cell is how tables write a missing label.
            labels={} if label is None or (isinstance(label, str) and not label) else {self.task: label},
            place=place,
            query=None if query is None else str(query),
            options=options,
        )

    def _text(self, row: SourceRow, name: Name | None, role: str, *, optional: bool = False) -> str | None:
        value = row.fields[name] if name is not None else None
        if name is None or isinstance(value, str):
            return value
        if value is None:
            if not optional:
                self.problems.add(f"the {role} is empty: {name!r} is null or missing", line=row.line)
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        todo = "a list of words is mapped with `words:`" if isinstance(value, list) else None
        self.problems.add(f"the {role} in {name!r} is no string: {shown(value)}", line=row.line, todo=todo)
        return None

    def _words(self, row: SourceRow, name: Name | None) -> tuple[str, ...] | None:
        value = row.fields[name] if name is not None else None
        if name is None:
            return None
        if not isinstance(value, list | tuple):
            todo = "a table with space-separated words is read with `type: uer_ner`" if isinstance(value, str) else None
            self.problems.add(f"the words in {name!r} are no list: {shown(value)}", line=row.line, todo=todo)
            return None
        return self._strings(value, "word", row.line)

    def _options(self, row: SourceRow, name: Name | None) -> tuple[str, ...] | None:
        value = row.fields[name] if name is not None else None
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) < 2:
            self.problems.add(f"the options in {name!r} are no list of two or more: {shown(value)}", line=row.line)
            return None
        return self._strings(value, "option", row.line)

    def _strings(self, values: Sequence[Any], kind: str, line: int) -> tuple[str, ...] | None:
        if set(map(type, values)) <= {str} and "" not in values:
            return tuple(values)
        out = []
        for number, value in enumerate(values, start=1):
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = str(value)
            if not isinstance(value, str) or not value:
                what = "is empty" if value in ("", None) else f"is no string: {shown(value)}"
                self.problems.add(f"{kind} {number} of {len(values)} {what}", line=line)
                return None
            out.append(value)
        return tuple(out)
