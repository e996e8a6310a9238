"""What is asked of a model, in three steps that threads take one after the other: read, computed, told.

A predictor is what `braid.load` gives: a callable with `embed` and `tasks`. One that has `read`, `answer` and `results`
(see `braid.predict.questions`) puts requests with different tasks into one pass; any other is called once for each set
of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from braid.errors import BraidError
from braid.predict.inputs import INPUT, example_of
from braid.serve.wire import dumps

BYTES_A_TOKEN = 3
"""Of UTF-8, where a predictor does not say how many tokens a text has: a Chinese character is three."""


@dataclass(frozen=True)
class Asked:
    """What one request asks: inputs, and the tasks (None: all that can read them)."""

    inputs: list[Any]
    tasks: list[str] | None = None


def examples_of(inputs: Sequence[Any]) -> list[Any]:
    """Inputs as a predictor takes them. Raises BraidError that says which one is wrong."""
    out = []
    for number, given in enumerate(inputs):
        try:
            row = given if isinstance(given, str) else {key: given[key] for key in INPUT if key in given}
            out.append(example_of(row))
        except BraidError as error:
            raise BraidError(f"input {number + 1}: {error}") from error
    return out


def _guess(text: str) -> int:
    return 2 + len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN


class Together:
    """Predictions of a model that lets requests share a pass."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.key = (id(predictor), "predict")

    def read(self, given: Asked) -> tuple[Any, list[int]]:
        """Checked and tokenised."""
        question = self.predictor.read(examples_of(given.inputs), given.tasks)
        return question, question.tokens

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        """One pass, each row for its own tasks."""
        self.predictor.answer(rows)

    def tell(self, jobs: Sequence[Any]) -> list[bytes]:
        """Results as JSON lists."""
        return [dumps([result.to_write() for result in results]) for results in self.predictor.results(jobs)]


@dataclass(eq=False)
class _Called:
    """A request to a predictor that is simply called."""

    examples: list[Any]
    tasks: tuple[str, ...] | None
    results: list[Any] = field(default_factory=list)


class Apart:
    """Predictions of a predictor that is called with a list of inputs and one set of tasks. A request is one row, so
    that its inputs are never compared with those of others."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.key = (id(predictor), "call")

    def read(self, given: Asked) -> tuple[_Called, list[int]]:
        """Checked; its tokens are guessed."""
        examples = examples_of(given.inputs)
        tasks = None if given.tasks is None else tuple(dict.fromkeys(given.tasks))
        size = sum(_guess(one.text) + _guess(one.pair or "") for one in examples)
        return _Called(examples, tasks), [size] if examples else []

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        """One call for each set of tasks; requests for a task that ranks get one each."""
        sets: dict[Any, list[_Called]] = {}
        for number, (job, _) in enumerate(rows):
            sets.setdefault((job.tasks, number if self._ranks(job.tasks) else -1), []).append(job)
        for (tasks, _), jobs in sets.items():
            found = iter(self.predictor([one for job in jobs for one in job.examples], tasks))
            for job in jobs:
                job.results = [next(found) for _ in job.examples]

    def _ranks(self, tasks: tuple[str, ...] | None) -> bool:
        specs = self.predictor.tasks
        return any(specs[task].task.together == "query" for task in (specs if tasks is None else tasks))

    def tell(self, jobs: Sequence[Any]) -> list[bytes]:
        """Results as JSON lists."""
        return [dumps([result.to_json() for result in job.results]) for job in jobs]


@dataclass(eq=False)
class _Embedded:
    examples: list[Any]
    vectors: dict[int, Any] = field(default_factory=dict)


class Embedding:
    """Vectors of one of a model's tasks (None: its first, or the mean of the hidden states)."""

    def __init__(self, predictor: Any, task: str | None) -> None:
        self.predictor, self.task = predictor, task
        self.key = (id(predictor), "embed", task)

    def read(self, given: Asked) -> tuple[_Embedded, list[int]]:
        """Checked; its tokens are guessed."""
        examples = examples_of(given.inputs)
        cut = int(getattr(self.predictor, "max_length", 512))
        return _Embedded(examples), [min(cut, _guess(one.text)) for one in examples]

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        """One call."""
        vectors = self.predictor.embed([job.examples[row] for job, row in rows], task=self.task)
        for (job, row), vector in zip(rows, vectors, strict=True):
            job.vectors[row] = vector

    def tell(self, jobs: Sequence[Any]) -> list[bytes]:
        """Vectors as JSON lists."""
        return [dumps([job.vectors[row] for row in range(len(job.examples))]) for job in jobs]
