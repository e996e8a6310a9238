"""`a & b`: the examples of tasks that label the same inputs, as one list."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from braid.data.example import Example
from braid.data.textfile import shown
from braid.errors import DataError, Problem

Key = tuple[str, str | None, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Joined:
    """*examples*: every input once, with the labels that any task has for it. *overlap*: for every two tasks, the
    inputs that both have (labelled or not)."""

    examples: list[Example]
    overlap: dict[tuple[str, str], int]


@dataclass(slots=True)
class _Entry:
    first: Example
    words: tuple[str, ...] | None
    query: str | None
    labels: dict[str, Any]
    tasks: set[str] = field(default_factory=set)


def join(per_task: Mapping[str, Sequence[Example]]) -> Joined:
    """Join tasks on equal inputs, in the order in which inputs first appear.

    Inputs are equal if text, pair and options are, and words where both have words. An input that a task has several
    times meets the other tasks' in order: first with first, second with second. Rows of some tasks only are kept;
    the other tasks' labels are missing there. Raises DataError where two tasks, neither empty, share no input at all.
    """
    entries: list[_Entry] = []
    by_input: dict[Key, list[_Entry]] = defaultdict(list)
    for task, examples in per_task.items():
        free: dict[Key, deque[_Entry]] = {}
        for example in examples:
            key = (example.text, example.pair, example.options)
            if key not in free:
                free[key] = deque(by_input[key])
            entry = _take(free[key], example)
            if entry is None:
                entry = _Entry(first=example, words=example.words, query=example.query, labels={})
                entries.append(entry)
                by_input[key].append(entry)
            elif entry.words is None:
                entry.words = example.words
            entry.query = entry.query if entry.query is not None else example.query
            entry.labels.update(example.labels)
            entry.tasks.add(task)
    overlap = {
        (a, b): sum(a in entry.tasks and b in entry.tasks for entry in entries) for a, b in combinations(per_task, 2)
    }
    _check(per_task, overlap)
    return Joined(examples=[_example(entry) for entry in entries], overlap=overlap)


def _take(free: deque[_Entry], example: Example) -> _Entry | None:
    """The first entry that an earlier task made for this input and whose words do not contradict it."""
    for place, entry in enumerate(free):
        if entry.words is None or example.words is None or entry.words == example.words:
            del free[place]
            return entry
    return None


def _example(entry: _Entry) -> Example:
    return Example(
        text=entry.first.text,
        pair=entry.first.pair,
        words=entry.words,
        labels=entry.labels,
        place=entry.first.place,
        query=entry.query,
        options=entry.first.options,
    )


def _check(per_task: Mapping[str, Sequence[Example]], overlap: Mapping[tuple[str, str], int]) -> None:
    problems = []
    for (a, b), count in overlap.items():
        if count == 0 and per_task[a] and per_task[b]:
            first, second = per_task[a][0], per_task[b][0]
            what = (
                f"`{a} & {b}` says that both label the same inputs, but they share none of "
                f"{len(per_task[a])} and {len(per_task[b])}.\n"
                f"    first of {a}: {_input(first)}\n    first of {b}: {_input(second)}"
            )
            problems.append(Problem(what=what, todo=f"if their inputs differ, write `{a} | {b}`"))
    if problems:
        raise DataError(problems)


def _input(example: Example) -> str:
    parts = [shown(example.text)]
    if example.pair is not None:
        parts.append(f"pair {shown(example.pair)}")
    if example.words is not None:
        parts.append(f"{len(example.words)} words")
    return ", ".join(parts) + (f" ({example.place})" if example.place else "")
