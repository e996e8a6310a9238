"""Which column of a file is what: as `columns:` says, else by the usual names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from braid.errors import did_you_mean, nearest

Name = str | int
Fields = Mapping[Name, Any]

ROLES = ("text", "pair", "words", "label", "query", "options")
"""What `columns:` can map, besides the tasks' names."""

PAIRS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "context"),
    ("#1 String", "#2 String"),
)
"""Columns that are `text` and `pair` where a file has both."""
TEXTS = ("text_a", "sentence", "sentence1", "question", "question1", "premise", "content", "review", "#1 String")
"""Columns that are `text` where a file has only one of them."""
SECONDS = ("text_b", "sentence2", "question2", "hypothesis", "#2 String")
"""Columns that are `pair` to a single text."""
WORDS = ("words", "tokens", "form")
"""Columns that are `words` where they hold lists."""
LABELS = ("label", "labels", "score", "gold_label", "Quality")
"""Columns that are the label, after the task's own name."""


class UnclearColumnsError(Exception):
    """The input of a row cannot be found: `what` is wrong and `todo` says what to write."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


@dataclass(frozen=True, slots=True)
class Roles:
    """The column that holds each part of a row; None: no column does."""

    text: Name | None
    pair: Name | None
    words: Name | None
    label: Name | None
    query: Name | None
    options: Name | None


def find(fields: Fields, name: Name) -> Name | None:
    """The key that `name` means: itself, a number written as text, or a column's place counted from either end."""
    if name in fields:
        return name
    if isinstance(name, str):
        return find(fields, int(name)) if name.removeprefix("-").isdecimal() else None
    keys = list(fields)
    numbered = sum(isinstance(key, int) for key in keys)
    countable = numbered == 0 or (numbered == len(keys) and name < 0)
    return keys[name] if countable and -len(keys) <= name < len(keys) else None


def roles(fields: Fields, columns: Mapping[str, Name], task: str) -> Roles:
    """The columns of a row. A mapped column that this row lacks is None.

    Where `columns` names any of text, pair and words, the input is exactly what it names; else the usual names are
    recognised. Raises UnclearColumnsError when none is there or several could be meant.
    """
    mapped = {role: find(fields, columns[role]) for role in (*ROLES, task) if role in columns}
    if any(role in columns for role in ("text", "pair", "words")):
        if "text" not in columns and "words" not in columns:
            raise UnclearColumnsError("`columns` names a pair but no text", "add `text: NAME` to `columns`")
        text, pair, words = mapped.get("text"), mapped.get("pair"), mapped.get("words")
    else:
        free = {key: value for key, value in fields.items() if key not in mapped.values()}
        words = next((name for name in WORDS if isinstance(free.get(name), list | tuple)), None)
        text, pair = _text_of(free) if words is None else ("text" if "text" in free else None, None)
    return Roles(
        text=text,
        pair=pair,
        words=words,
        label=_label(fields, columns, mapped, task, used={text, pair, words}),
        query=mapped["query"] if "query" in columns else find(fields, "query"),
        options=mapped["options"] if "options" in columns else find(fields, "options"),
    )


def _label(
    fields: Fields, columns: Mapping[str, Name], mapped: Mapping[str, Name | None], task: str, used: set[Name | None]
) -> Name | None:
    for role in (task, "label"):
        if role in columns:
            return mapped[role]
    return next((name for name in (task, *LABELS) if name in fields and name not in used), None)


def _text_of(fields: Fields) -> tuple[Name, Name | None]:
    """Columns of text and pair, by their names."""
    if "text" in fields:
        return "text", _second(fields)
    pairs = [pair for pair in PAIRS if pair[0] in fields and pair[1] in fields]
    if len(pairs) == 1:
        return pairs[0]
    if pairs:
        raise _unclear("several columns could be the text and its pair", fields, {n for pair in pairs for n in pair})
    texts = [name for name in TEXTS if name in fields]
    if len(texts) == 1:
        return texts[0], _second(fields)
    if texts:
        raise _unclear("several columns could be the text", fields, texts)
    raise _unclear("no column is recognised as the text", fields, [])


def _second(fields: Fields) -> Name | None:
    if "pair" in fields:
        return "pair"
    seconds = [name for name in SECONDS if name in fields]
    if len(seconds) > 1:
        raise _unclear("several columns could be the pair", fields, seconds)
    return seconds[0] if seconds else None


def _unclear(what: str, fields: Fields, candidates: Iterable[Name]) -> UnclearColumnsError:
    named = ", ".join(map(repr, sorted(candidates, key=str)))
    return UnclearColumnsError(
        f"{what}{f': {named}' if named else ''}. The columns are {listed(fields)}",
        "say which: `columns: {text: NAME, pair: NAME, label: NAME}` (or `words: NAME`); "
        "columns without names are numbered from 0",
    )


def listed(names: Iterable[Name], *, limit: int = 30) -> str:
    """Column names for a message."""
    keys = list(names)
    text = ", ".join(map(repr, keys[:limit]))
    return (text or "none at all") + (f" and {len(keys) - limit} more" if len(keys) > limit else "")


def hint(name: Name, names: Iterable[Name]) -> str:
    """What to do about a column that a file does not have."""
    there = list(names)
    texts = [key for key in there if isinstance(key, str)]
    if isinstance(name, str) and texts and nearest(name, texts) is not None:
        return did_you_mean(name, texts)
    return f"the columns are {listed(there)}"


def misspelt_role(columns: Mapping[str, Name], task: str) -> str | None:
    """A key of `columns` that looks like a misspelt `label` (or another role). Other tasks' names are legitimate
    keys, so this is asked only where a task's label is missing."""
    for key in columns:
        near = None if key in ROLES or key == task else nearest(key, (*ROLES, task))
        if near is not None:
            return f"`columns` has {key!r}; did you mean {near!r}?"
    return None
