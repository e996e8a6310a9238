"""Named models, and how a new run takes the place of an old one while requests come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from braid.data.example import Example
from braid.errors import BraidError, did_you_mean
from braid.predict.inputs import INPUT
from braid.serve.garbage import ENGINE, settle
from braid.serve.jobs import Apart, Embedding, Together
from braid.serve.warming import compiles, warm


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
        """Predict, so that no request waits for what happens once."""
        for facts in self.describe()["tasks"].values():
            if facts["example"] is not None:
                self.predictor([facts["example"]])
        if isinstance(self.predicting, Together) and compiles(self.predictor):
            warm(self.predicting, self.predictor.batch_tokens)
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
        "needs": needs_of(spec.task) if example is not None else [],
        "example": example,
    }


def needs_of(task: Any) -> list[str]:
    """The fewest parts of a row, beside its text, with which the task can read it."""
    parts: dict[str, Any] = {"pair": "a", "options": ("a", "b")}
    for size in range(len(parts) + 1):
        for names in combinations(parts, size):
            if task.fits(Example("a", **{name: parts[name] for name in names})) is None:
                return list(names)
    return []


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
            settle(ENGINE)
        return names
