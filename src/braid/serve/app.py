"""The routes."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from braid.errors import BraidError, did_you_mean
from braid.serve.batching import Batcher, Busy, Late, Observer, Stages, TooLarge
from braid.serve.gate import QUEUED, App, BodyTooLarge, BodyTooSlow, ClientLeft, Gate, NoRoom, Receive, Send, refusal
from braid.serve.jobs import Asked, dumps
from braid.serve.limits import ServeOptions
from braid.serve.metrics import Metrics
from braid.serve.models import Models
from braid.serve.openapi import ROUTES, schema_of
from braid.serve.pages import docs, front, page_file
from braid.serve.schemas import EmbedRequest, PredictRequest, ReloadRequest

Body = TypeVar("Body", bound=BaseModel)
JSON = "application/json"
PARENT = "BRAID_SERVE_PARENT"
"""Process of the supervisor, where there are several workers."""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, kind: str, message: str, *, where: str | None = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = refusal(status, kind, message, where=where, headers=named)
        super().__init__(message)


def create(options: ServeOptions, models: Models, batcher: Batcher, metrics: Metrics, *, version: str = "") -> Gate:
    """The ASGI application of a server whose models are loaded (or will be: until then it is not ready)."""
    app = FastAPI(title="Braid", version=version, docs_url=None, redoc_url=None, openapi_url=None)
    gate = Gate(app, options, batcher, metrics)
    batcher.observer = Observer(batch=metrics.batch, dropped=lambda why: metrics.dropped.labels(why).inc())

    async def refused(request: Request, error: Refused) -> Response:
        status, body, headers = error.answer
        return Response(body, status, headers, JSON)

    async def no_route(request: Request, error: HTTPException) -> Response:
        kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        message = f"{request.method} {request.url.path}: {error.detail}; the routes are at /docs"
        status, body, _ = refusal(error.status_code, kind, message, where="path")
        return Response(body, status, error.headers, JSON)

    async def too_large(request: Request, error: BodyTooLarge) -> Response:
        status, body, headers = gate.too_large()
        return Response(body, status, headers, JSON)

    async def no_room(request: Request, error: NoRoom) -> Response:
        status, body, headers = gate.busy()
        return Response(body, status, headers, JSON)

    async def too_slow(request: Request, error: BodyTooSlow) -> Response:
        status, body, headers = gate.too_slow()
        return Response(body, status, {**headers, "connection": "close"}, JSON)

    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)

    async def ours(request: Request, error: Exception) -> Response:
        traceback.print_exception(error)
        status, body, headers = refusal(500, "bug", "this is a bug in Braid, not in what you sent")
        return Response(body, status, headers, JSON)

    answers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        Refused: refused,
        HTTPException: no_route,
        BodyTooLarge: too_large,
        NoRoom: no_room,
        BodyTooSlow: too_slow,
        ClientLeft: left,
        Exception: ours,
    }
    for kind, answer in answers.items():
        app.add_exception_handler(kind, answer)

    async def predict(request: Request) -> Response:
        given = await _parsed(request, PredictRequest)
        served = _found(models, given)
        inputs = given.given()
        said = _said(request, options, served.name, inputs)
        if given.tasks is not None:
            said["tasks"] = given.tasks[:100]
            _known(served.predictor, given.tasks)
        results, times = await _submitted(request, served.predicting, Asked(inputs, given.tasks))
        return _answer(request, served.name, "results", results, times)

    async def embed(request: Request) -> Response:
        given = await _parsed(request, EmbedRequest)
        served = _found(models, given)
        try:
            work = served.embedding(given.task)
        except BraidError as error:
            raise Refused(422, "task", str(error), where="task") from error
        inputs = given.given()
        _said(request, options, served.name, inputs)
        vectors, times = await _submitted(request, work, Asked(inputs))
        return _answer(request, served.name, "embeddings", vectors, times)

    async def _submitted(request: Request, work: Any, asked: Asked) -> tuple[bytes, Stages]:
        if len(asked.inputs) > options.limits.max_rows:
            message = f"{len(asked.inputs):,} inputs; a request may have {options.limits.max_rows:,}"
            raise Refused(413, "too_many_rows", message, where="inputs")
        size, seconds = len(await request.body()), _patience(request)
        task = asyncio.ensure_future(batcher.submit(work, asked, size=size, seconds=seconds))
        watch = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Refused(499, "left", "the client left")
            return task.result()
        except Busy:
            status, body, headers = gate.busy()
            raise Refused(status, "busy", orjson.loads(body)["error"]["message"], **headers) from None
        except TooLarge as error:
            message = f"the request has {error}; it may have {options.limits.max_tokens:,}"
            raise Refused(413, "too_many_tokens", message, where="inputs") from error
        except Late as error:
            raise Refused(504, "deadline", str(error)) from error
        except BraidError as error:
            raise Refused(422, "input", str(error), where="inputs") from error
        finally:
            task.cancel()
            watch.cancel()

    def _answer(request: Request, name: str, key: str, found: bytes, times: Stages) -> Response:
        metrics.told(times)
        parts = {stage: round(1000 * getattr(times, stage), 2) for stage in ("read", "queue", "compute", "tell")}
        request.scope["braid"].said.update(tokens=times.tokens, queue=parts["queue"], compute=parts["compute"])
        parts["total"] = round(sum(parts.values()), 2)
        body = b'{"model":%b,"%b":%b,"milliseconds":%b}' % (dumps(name), key.encode(), found, dumps(parts))
        return Response(body, media_type=JSON)

    async def tasks() -> Response:
        return Response(dumps(_tasks(models)), media_type=JSON)

    async def live() -> Response:
        return Response(b'{"status":"live"}', media_type=JSON)

    async def ready() -> Response:
        good = models.ready and not gate.draining
        status = "ready" if good else "draining" if gate.draining else "loading"
        content = {"status": status, "models": [served.name for served in models]}
        return Response(dumps(content), 200 if good else 503, media_type=JSON)

    async def figures() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def reload(request: Request) -> Response:
        if options.api_key is None:
            raise Refused(403, "key", "reloading over HTTP needs a server with --api-key; or send it SIGHUP")
        given = await _parsed(request, ReloadRequest, empty=True)
        if given.model is not None:
            _found(models, given)
        if parent := os.environ.get(PARENT):
            os.kill(int(parent), signal.SIGHUP)
            return Response(b'{"reloading":"all workers"}', 202, media_type=JSON)
        try:
            names = await asyncio.to_thread(models.reload, given.model)
        except BraidError as error:
            metrics.reloads.labels("failed").inc()
            raise Refused(422, "reload", f"{error} (the old model goes on)", where="model") from error
        metrics.reloads.labels("done").inc()
        return Response(dumps({"reloaded": names}), media_type=JSON)

    async def schema() -> Response:
        return Response(dumps(_schema()), media_type=JSON)

    async def routes() -> Response:
        return HTMLResponse(docs(_schema()))

    async def index() -> Response:
        page = page_file("index.html")
        return HTMLResponse(page if page is not None else front([served.name for served in models]))

    async def page(name: str) -> Response:
        content = page_file(name)
        if content is None:
            raise HTTPException(404, "Not Found")
        return Response(content, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")

    known: dict[int, dict[str, Any]] = {}

    def _schema() -> dict[str, Any]:
        if models.version not in known:
            known.clear()
            known[models.version] = schema_of(_tasks(models), version)
        return known[models.version]

    handlers: Mapping[str, Callable[..., Any]] = {
        "/predict": predict,
        "/embed": embed,
        "/tasks": tasks,
        "/health": ready,
        "/health/live": live,
        "/health/ready": ready,
        "/metrics": figures,
        "/admin/reload": reload,
        "/openapi.json": schema,
        "/docs": routes,
        "/": index,
        "/page/{name:path}": page,
    }
    for path, handler in handlers.items():
        app.add_route(path, _route(handler), methods=[ROUTES.get(path, "get").upper()])
    gate.shortcuts = {path: _shortcut(handlers[path], answers) for path in QUEUED}
    return gate


def _shortcut(
    handler: Callable[[Request], Awaitable[Response]],
    answers: Mapping[type[Exception], Callable[[Request, Any], Awaitable[Response]]],
) -> App:
    """The application of one route: what is asked most often need not pass the framework's layers, which take as long
    as everything else that the event loop does for it."""

    async def route(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except Exception as error:
            response = await answers[next(kind for kind in type(error).__mro__ if kind in answers)](request, error)
        await response(scope, receive, send)

    return route


def _route(handler: Callable[..., Any]) -> Callable[[Request], Any]:
    wanted = handler.__code__.co_varnames[: handler.__code__.co_argcount]

    async def endpoint(request: Request) -> Response:
        given = {"request": request} if "request" in wanted else dict(request.path_params)
        found: Response = await handler(**given)
        return found

    return endpoint


async def _parsed(request: Request, kind: type[Body], *, empty: bool = False) -> Body:
    raw = await request.body()
    try:
        content = orjson.loads(raw) if raw or not empty else {}
    except orjson.JSONDecodeError:
        # Python's own parser also takes lone surrogates, which a string of Python may hold.
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "json", f"the body is no JSON: {error}", where="body") from error
    if not isinstance(content, dict):
        raise Refused(422, "request", f"the body must be a JSON object, not {type(content).__name__}", where="body")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        message = "; ".join(f"{where}: {what}" if where else what for where, what in found[:20])
        raise Refused(422, "request", message, where=found[0][0] or "body") from error


def _found(models: Models, given: Any) -> Any:
    try:
        return models[given.model]
    except BraidError as error:
        if not models.ready:
            raise Refused(503, "loading", "the models are being loaded", retry_after="1") from error
        raise Refused(422, "model", str(error), where="model") from error


def _known(predictor: Any, tasks: list[str]) -> None:
    known = [name for name, spec in predictor.tasks.items() if getattr(spec, "predicts", True)]
    for task in tasks:
        if task not in known:
            raise Refused(422, "task", f"this model has no task {task!r}: {did_you_mean(task, known)}", where="tasks")


def _patience(request: Request) -> float | None:
    given = request.headers.get("x-deadline-seconds")
    try:
        seconds = None if given is None else float(given)
    except ValueError:
        seconds = -1.0
    if seconds is not None and not seconds > 0:
        message = f"X-Deadline-Seconds must be a number greater than 0, not {given!r}"
        raise Refused(422, "request", message, where="header X-Deadline-Seconds")
    return seconds


async def _left(request: Request) -> None:
    """Ends when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _said(request: Request, options: ServeOptions, model: str, inputs: list[Any]) -> dict[str, Any]:
    said: dict[str, Any] = request.scope["braid"].said
    said.update(model=model, rows=len(inputs))
    if options.log_texts:
        said["inputs"] = inputs
    return said


def _tasks(models: Models) -> dict[str, Any]:
    return {"default": models.default, "models": {served.name: served.describe() for served in models}}
