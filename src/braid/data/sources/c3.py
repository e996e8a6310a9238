"""C3, Chinese multiple-choice reading comprehension (Sun et al. 2020): dialogues and texts with questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines, shown


class C3(FileSource):
    """A JSON list of `[[line, ...], [{"question", "choice", "answer"}, ...], id]`; a row for each question with `text`,
    `pair` (the question), `options`, and `label`, the answer's place among them."""

    type: Literal["c3"] = "c3"

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per question; its `line` is the number of its record, from 1. Raises DataError."""
        problems = Problems(self.path)
        try:
            records = json.loads("\n".join(line for _, line in lines(self.path, self.encoding)))
        except (ValueError, RecursionError) as error:
            problems.add(f"not valid JSON: {error}")
            records = []
        if not isinstance(records, list):
            problems.add("not a list of records; C3 is [[[line, ...], [{question, choice, answer}, ...], id], ...]")
            records = []
        for number, record in enumerate(records, start=1):
            for fields in _questions(record, number, problems):
                yield SourceRow(fields=fields, line=number, file=self.path)
        problems.finish()


def _questions(record: Any, number: int, problems: Problems) -> Iterator[dict[str | int, Any]]:
    where = f"record {number}"
    try:
        text, questions = "\n".join(record[0]), list(record[1])
        given = [(item["question"], item["choice"], item.get("answer")) for item in questions]
    except (TypeError, KeyError, IndexError, AttributeError):
        problems.add(f"{where} is no [[line, ...], [{{question, choice, answer}}, ...], id]: {shown(record)}")
        return
    for question, choice, answer in given:
        if not isinstance(choice, list) or not isinstance(question, str):
            problems.add(f"{where}: `question` is no string or `choice` no list")
            continue
        fields: dict[str | int, Any] = {"text": text, "pair": question, "options": choice}
        if answer is not None:
            if answer not in choice:
                problems.add(f"{where}: the answer {shown(answer)} is none of the choices {shown(choice)}")
                continue
            fields["label"] = choice.index(answer)
        yield fields
