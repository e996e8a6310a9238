"""Questions on paragraphs with answers cut from them: SQuAD 1.1 and 2.0, CMRC 2018, DRCD, XQuAD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.sources.jsonl import parse
from braid.data.textfile import Problems, lines, shown

Record = dict[str, Any]


class Squad(FileSource):
    """JSON as SQuAD has it: articles of paragraphs (`context`) of questions (`qas`); also CMRC 2018's first layout, a
    list of paragraphs with `context_text`, `query_text` and answers as strings."""

    type: Literal["squad"] = "squad"

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per question: `text` (the question), `pair` (the context), `query` (its id) and, where the file has
        answers, `label`: `[{"start", "text"}, ...]` as they stand, [] for a question without one. `line` is the
        question's number in the file.

        Raises DataError with up to 20 records that are not so."""
        problems = Problems(self.path)
        numbered = list(lines(self.path, self.encoding))
        document = parse("\n".join(line for _, line in numbered), problems, [number for number, _ in numbered])
        problems.finish()
        for number, (context, question) in enumerate(_questions(document, problems), start=1):
            before = len(problems.found)
            fields = _fields(context, question, problems, number)
            if len(problems.found) == before:
                yield SourceRow(fields=fields, line=number, file=self.path)
        problems.finish()


def _questions(document: Any, problems: Problems) -> Iterator[tuple[Any, Any]]:
    """(context, question) as they come; what stands above a question and is no record is a problem of its own."""
    articles = document.get("data") if isinstance(document, dict) else document
    for article, where in _records(articles, "data", problems):
        inner = article.get("paragraphs", [article])
        for paragraph, place in _records(inner, f"{where}.paragraphs", problems):
            context = paragraph.get("context", paragraph.get("context_text"))
            questions = paragraph.get("qas")
            if not isinstance(questions, list):
                problems.add(f"{place} has no list of questions `qas`, but {shown(questions)}")
                continue
            yield from ((context, question) for question in questions)


def _records(values: Any, where: str, problems: Problems) -> Iterator[tuple[Record, str]]:
    if not isinstance(values, list):
        problems.add(f"`{where}` is no list of records: {shown(values)}")
        return
    for number, value in enumerate(values):
        if isinstance(value, dict):
            yield value, f"{where}[{number}]"
        else:
            problems.add(f"{where}[{number}] is no record: {shown(value)}")


def _fields(context: Any, question: Any, problems: Problems, number: int) -> dict[str | int, Any]:
    if not isinstance(question, dict):
        problems.add(f"question {number} is no record: {shown(question)}", line=number)
        return {}
    text = question.get("question", question.get("query_text"))
    for name, value in (("question", text), ("context", context)):
        if not isinstance(value, str):
            problems.add(f"the {name} of question {number} is no string: {shown(value)}", line=number)
    fields: dict[str | int, Any] = {"text": text, "pair": context}
    query = question.get("id", question.get("query_id"))
    if query is not None:
        fields["query"] = str(query)
    answers = [] if question.get("is_impossible") is True else question.get("answers")
    if answers is not None:
        fields["label"] = _answers(answers, context, problems, number)
    return fields


def _answers(answers: Any, context: Any, problems: Problems, number: int) -> list[Record]:
    """Answers with their places; one that the file gives as a bare string stands where the context first has it, and
    at -1 where it never does."""
    out = []
    for answer in answers if isinstance(answers, list) else [answers]:
        if isinstance(answer, str) and isinstance(context, str):
            answer = {"text": answer, "answer_start": context.find(answer)}
        text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            what = f"an answer of question {number} is not {{text, answer_start}}: {shown(answer)}"
            problems.add(what, line=number)
            continue
        out.append({"start": start, "text": text})
    return out
