"""Named models, what is asked of them, and how a new run takes the place of an old one while requests come.

A predictor is what `braid.load` gives: a callable with `embed` and `tasks`. One that has `read`, `answer` and `results`
(see `braid.predict.questions`) puts requests with different tasks into one pass; any other is called once for each set
of tasks.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from braid.errors import BraidError, did_you_mean
from braid.predict.inputs import INPUT, example_of

BYTES_A_TOKEN = 3
"""Of UTF-8, where a predictor does not say how many tokens a text has: a Chinese character is three."""


@dataclass(frozen=True)
class Asked:
    """What one request asks: inputs, and the tasks (None: all that can read them)."""

    inputs: list[Any]
    tasks: list[str] | None = None


def dumps(content: Any) -> bytes:
    """As JSON; lone surrogates, which UTF-8 cannot hold, as escapes."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(content).encode("ascii")


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
        return [dumps([result.to_json() for result in results]) for results in self.predictor.results(jobs)]


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


@dataclass(frozen=True, eq=False)
class Served:
    """A model as it is served: its *name*, where it came from, and the predictor."""

    name: str
    path: Path
    predictor: Any
    predicting: Together | Apart

    @classmethod
    def of(cls, name: str, path: Path, predictor: Any) -> Served:
        """A predictor under a name, after a first prediction."""
        together = all(hasattr(predictor, part) for part in ("read", "answer", "results"))
        served = cls(name, path, predictor, Together(predictor) if together else Apart(predictor))
        served.warm()
        return served

    def warm(self) -> None:
        """Predict once, so that the first request does not wait for what happens once."""
        for facts in self.describe()["tasks"].values():
            if facts["example"] is not None:
                self.predictor([facts["example"]])
        with contextlib.suppress(BraidError):  # not every exported model makes vectors
            self.predictor.embed(["warm"])

    def embedding(self, task: str | None) -> Embedding:
        """What makes vectors. Raises BraidError for a task that makes none."""
        if task is not None:
            makers = [name for name, spec in self.predictor.tasks.items() if spec.task.type == "similarity"]
            if task not in makers:
                raise BraidError(f"task {task!r} makes no embeddings; those that do: {', '.join(makers) or 'none'}")
        return Embedding(self.predictor, task)

    def describe(self) -> dict[str, Any]:
        """Its tasks: type, labels, first metric, an example."""
        return {"tasks": {name: _facts(spec) for name, spec in self.predictor.tasks.items()}}


def _facts(spec: Any) -> dict[str, Any]:
    labels = spec.facts.get("labels")
    example = None
    if getattr(spec, "predicts", True):
        row = type(spec.task).specimens(1)[0]
        example = {key: row[key] for key in INPUT if row.get(key) is not None}
    return {
        "type": spec.task.type,
        "labels": labels if isinstance(labels, list) else None,
        "metric": spec.task.best(spec.facts),
        "predicts": example is not None,
        "example": example,
    }


class Models:
    """Models by name; the first is the default. Requests that are under way keep the model that they began with."""

    def __init__(self, runs: Mapping[str, Path], load: Callable[[str, Path], Served]) -> None:
        self._load = load
        self._paths = dict(runs)
        self._served: dict[str, Served] = {}
        self._reloading = threading.Lock()
        self.version = 0
        """Grows with every reload."""

    def __iter__(self) -> Any:
        return iter(self._served.values())

    @property
    def default(self) -> str:
        """The model that answers where a request names none."""
        return next(iter(self._paths))

    @property
    def ready(self) -> bool:
        """Whether all models are there."""
        return len(self._served) == len(self._paths)

    def load(self) -> None:
        """Load all. Raises BraidError."""
        for name, path in self._paths.items():
            self._served[name] = self._load(name, path)
        self.version += 1

    def __getitem__(self, name: str | None) -> Served:
        """Raises BraidError for a name that no model has."""
        name = self.default if name is None else name
        if name not in self._served:
            raise BraidError(f"there is no model {name!r}: {did_you_mean(name, self._paths)}")
        return self._served[name]

    def reload(self, name: str | None = None) -> list[str]:
        """Load one model (None: all) anew from where it is; the old ones answer until all new ones can, and go on if
        one of these cannot be loaded. Raises BraidError; returns the names."""
        names = list(self._paths) if name is None else [self[name].name]
        with self._reloading:
            fresh = {one: self._load(one, self._paths[one]) for one in names}
            self._served = {**self._served, **fresh}
            self.version += 1
        return names
