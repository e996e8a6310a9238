"""What is asked of a model, in three steps: read (checked and tokenised), answered (through the encoder), told
(decoded). A caller with one list of texts takes them one after the other; a server takes each where it pays, and puts
rows of different questions, with different tasks, into one pass of the encoder.

Shape legend: U units of an example, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braid.data.example import Example, Window
from braid.data.groups import GroupData
from braid.data.windows import Layout, UnitKind
from braid.decoding.base import Intake, Prediction
from braid.model.answers import Answers
from braid.predict.rows import Cut, Reading, shared_rows

Pass = Callable[[Sequence[GroupData]], Mapping[tuple[int, str], Answers]]
"""Groups of rows through the encoder and the heads: (group, task) -> answers."""

Decode = Callable[[str, Sequence[np.ndarray], Sequence[Example], Sequence[np.ndarray]], list[Any]]
"""A task's name, and what its decoder reads -> predictions."""


@dataclass(eq=False)
class Question:
    """Inputs, and the tasks that are asked of them. *asked*: task -> numbers of the examples; *windows*: of each
    example, by the way in which tasks read it; *found*: task -> example -> what the head said ([n, C]) and the
    example's units ([U, 2])."""

    examples: Sequence[Example]
    asked: Mapping[str, Set[int]]
    windows: list[dict[Reading, list[Window]]]
    found: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    @property
    def tokens(self) -> list[int]:
        """What the encoder reads for each example: rows with the same tokens are read once."""
        return [_size(by_reading) for by_reading in self.windows]


def read(
    examples: Sequence[Example], asked: Mapping[str, Set[int]], reads: Mapping[str, Reading], cut: Cut
) -> Question:
    """Tokenise the examples in all the ways in which the tasks that they are asked for read them."""
    windows: list[dict[Reading, list[Window]]] = [{} for _ in examples]
    for reading in dict.fromkeys(reads[task] for task in asked):
        numbers = sorted({number for task, found in asked.items() if reads[task] == reading for number in found})
        for number, rows in zip(numbers, cut([examples[number] for number in numbers], *reading), strict=True):
            windows[number][reading] = rows
    return Question(examples, asked, windows)


def answer(parts: Sequence[tuple[Question, int]], reads: Mapping[str, Reading], through: Pass) -> None:
    """Take examples (by number) of any questions through the encoder at once, each for its own tasks; what the heads
    say is put into the questions."""
    examples = [question.examples[number] for question, number in parts]
    members: dict[str, list[int]] = {}
    for place, (question, number) in enumerate(parts):
        for task, numbers in question.asked.items():
            if number in numbers:
                members.setdefault(task, []).append(place)
    known: dict[int, dict[Reading, list[Window]]] = {}
    for (question, number), example in zip(parts, examples, strict=True):
        known.setdefault(id(example), {}).update(question.windows[number])

    def cut(wanted: Sequence[Example], layout: Layout, units: UnitKind) -> list[list[Window]]:
        return [known[id(example)][layout, units] for example in wanted]

    groups, places = shared_rows(examples, reads, members, cut)
    for (group, task), found in through(groups).items():
        for at, place in enumerate(places[group]):
            question, number = parts[place]
            question.found.setdefault(task, {})[number] = found.values[at], found.units[at]


def told(
    questions: Sequence[Question], intakes: Mapping[str, Intake], decode: Decode
) -> list[dict[str, dict[int, Prediction]]]:
    """What the tasks say, for each question: task -> example -> prediction. Each task decodes once for all, unless it
    compares the examples of a question with each other, as ranking does: these are never compared with another's."""
    out: list[dict[str, dict[int, Prediction]]] = [{task: {} for task in question.asked} for question in questions]
    for task in dict.fromkeys(task for question in questions for task in question.asked):
        apart = intakes[task].together == "query"
        for group in [[k] for k in range(len(questions))] if apart else [range(len(questions))]:
            entries = [entry for k in group for entry in _entries(k, questions[k], task)]
            if not entries:
                continue
            predictions = decode(
                task,
                [values for _, _, _, (values, _) in entries],
                [example for _, _, example, _ in entries],
                [units for _, _, _, (_, units) in entries],
            )
            for (k, number, _, _), prediction in zip(entries, predictions, strict=True):
                out[k][task][number] = prediction
    return out


def _entries(
    k: int, question: Question, task: str
) -> Iterator[tuple[int, int, Example, tuple[np.ndarray, np.ndarray]]]:
    found = question.found.get(task, {})
    for number in sorted(question.asked.get(task, ())):
        yield k, number, question.examples[number], found[number]


def _size(by_reading: Mapping[Reading, Sequence[Window]]) -> int:
    """Tokens of an example's rows. One that is read jointly rides on the first row of another reading, where that has
    the same tokens."""
    if len(by_reading) == 1:
        return sum(len(row.ids) for rows in by_reading.values() for row in rows)
    total, firsts = 0, set[bytes]()
    for (layout, _), rows in sorted(by_reading.items(), key=lambda item: item[0][0] == "joint"):
        first = rows[0].ids.tobytes() if rows else b""
        if layout != "joint" or first not in firsts:
            total += sum(len(row.ids) for row in rows)
        firsts.add(first)
    return total
