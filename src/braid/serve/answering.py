"""An engine in this process: a request's body is checked, its rows wait for a batch, and its answer is written."""

from __future__ import annotations

import asyncio
from typing import Any

from braid.errors import BraidError, did_you_mean
from braid.serve.answer import Answer, Busy, Observer, Refused, Stages, refusal
from braid.serve.batching import Batcher, Late, TooLarge
from braid.serve.jobs import Asked
from braid.serve.limits import ServeOptions
from braid.serve.models import Models, Served
from braid.serve.schemas import EmbedRequest, PredictRequest, parsed
from braid.serve.wire import dumps


class LocalEngine:
    """Models, and the batches that they compute (see `answer.Engine`)."""

    def __init__(self, options: ServeOptions, models: Models, batcher: Batcher) -> None:
        self.options, self.models, self.batcher = options, models, batcher
        self._facts: tuple[int, dict[str, Any]] = -1, {}

    @property
    def observer(self) -> Observer:
        """Who hears of batches."""
        return self.batcher.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self.batcher.observer = observer

    @property
    def inside(self) -> int:
        """Requests without an answer yet."""
        return self.batcher.inside

    @property
    def waiting(self) -> int:
        """Tokens that wait."""
        return self.batcher.waiting

    @property
    def full(self) -> bool:
        """Whether a request is to be turned away."""
        return self.batcher.full

    def busy(self) -> Busy:
        """What it is told then."""
        return self.batcher.busy()

    @property
    def ready(self) -> bool:
        """Its models were there before it."""
        return True

    @property
    def version(self) -> int:
        """Grows with every reload."""
        return self.models.version

    @property
    def facts(self) -> dict[str, Any]:
        """What `GET /tasks` says."""
        if self._facts[0] != self.version:
            described = {served.name: served.describe() for served in self.models}
            self._facts = self.version, {"default": self.models.default, "models": described}
        return self._facts[1]

    def memory(self) -> dict[str, int]:
        """There are no other processes."""
        return {}

    async def reload(self, model: str | None = None) -> list[str]:
        """Load anew."""
        return await asyncio.to_thread(self.models.reload, model)

    async def answer(self, path: str, body: bytes, seconds: float | None = None) -> Answer:
        """What `POST /predict` and `POST /embed` are answered."""
        said: dict[str, Any] = {}
        try:
            ask = self._predict if path == "/predict" else self._embed
            answer = await ask(body, seconds, said)
        except Refused as error:
            answer = error.answer
        except Busy as error:
            answer = error.answer()
        except TooLarge as error:
            message = f"the request has {error}; it may have {self.options.limits.max_tokens:,}"
            answer = refusal(413, "too_many_tokens", message, where="inputs")
        except Late as error:
            answer = refusal(504, "deadline", str(error))
        except BraidError as error:
            answer = refusal(422, "input", str(error), where="inputs")
        answer.said = {**said, **answer.said}
        return answer

    async def _predict(self, body: bytes, seconds: float | None, said: dict[str, Any]) -> Answer:
        given = parsed(body, PredictRequest)
        served = self._found(given.model)
        asked = self._asked(served, given.given(), said, given.tasks)
        if given.tasks is not None:
            said["tasks"] = given.tasks[:100]
            _known(served.predictor, given.tasks)
        results, times = await self.batcher.submit(served.predicting, asked, size=len(body), seconds=seconds)
        return _told(served.name, "results", results, times)

    async def _embed(self, body: bytes, seconds: float | None, said: dict[str, Any]) -> Answer:
        given = parsed(body, EmbedRequest)
        served = self._found(given.model)
        try:
            work = served.embedding(given.task)
        except BraidError as error:
            raise Refused(422, "task", str(error), where="task") from error
        asked = self._asked(served, given.given(), said)
        vectors, times = await self.batcher.submit(work, asked, size=len(body), seconds=seconds)
        return _told(served.name, "embeddings", vectors, times)

    def _found(self, name: str | None) -> Served:
        try:
            return self.models[name]
        except BraidError as error:
            raise Refused(422, "model", str(error), where="model") from error

    def _asked(self, served: Served, inputs: list[Any], said: dict[str, Any], tasks: list[str] | None = None) -> Asked:
        said.update(model=served.name, rows=len(inputs))
        if self.options.log_texts:
            said["inputs"] = inputs
        if len(inputs) > self.options.limits.max_rows:
            message = f"{len(inputs):,} inputs; a request may have {self.options.limits.max_rows:,}"
            raise Refused(413, "too_many_rows", message, where="inputs")
        return Asked(inputs, tasks)


def _known(predictor: Any, tasks: list[str]) -> None:
    known = [name for name, spec in predictor.tasks.items() if getattr(spec, "predicts", True)]
    for task in tasks:
        if task not in known:
            raise Refused(422, "task", f"this model has no task {task!r}: {did_you_mean(task, known)}", where="tasks")


def _told(name: str, key: str, found: bytes, times: Stages) -> Answer:
    parts = {stage: round(1000 * getattr(times, stage), 2) for stage in ("read", "queue", "compute", "tell")}
    said = {"tokens": times.tokens, "queue": parts["queue"], "compute": parts["compute"]}
    parts["total"] = round(sum(parts.values()), 2)
    body = b'{"model":%b,"%b":%b,"milliseconds":%b}' % (dumps(name), key.encode(), found, dumps(parts))
    return Answer(200, body, said=said, stages=times)
