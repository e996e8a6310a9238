"""The routes. Those that predict pass the body on to an engine; the others are answered here."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from braid.errors import BraidError, did_you_mean
from braid.serve.answer import Answer, Engine, Observer, Refused, bug, refusal
from braid.serve.gate import QUEUED, App, BodyTooLarge, BodyTooSlow, ClientLeft, Gate, NoRoom, Receive, Send
from braid.serve.limits import ServeOptions
from braid.serve.metrics import Metrics
from braid.serve.openapi import ROUTES, schema_of
from braid.serve.pages import docs, front, page_file
from braid.serve.schemas import ReloadRequest, parsed
from braid.serve.wire import dumps

JSON = "application/json"
Handler = Callable[[Request, Any], Awaitable[Response]]


def create(options: ServeOptions, engine: Engine, metrics: Metrics, *, version: str = "") -> Gate:
    """The ASGI application of a server whose engine is ready (or will be: until then it says so)."""
    app = FastAPI(title="Braid", version=version, docs_url=None, redoc_url=None, openapi_url=None)
    gate = Gate(app, options, engine, metrics)
    engine.observer = Observer(batch=metrics.batch, dropped=lambda why: metrics.dropped.labels(why).inc())

    async def refused(request: Request, error: Refused) -> Response:
        return _response(error.answer)

    async def no_route(request: Request, error: HTTPException) -> Response:
        kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        message = f"{request.method} {request.url.path}: {error.detail}; the routes are at /docs"
        return _response(refusal(error.status_code, kind, message, where="path", headers=error.headers))

    async def too_large(request: Request, error: BodyTooLarge) -> Response:
        return _response(gate.too_large())

    async def no_room(request: Request, error: NoRoom) -> Response:
        return _response(gate.busy())

    async def too_slow(request: Request, error: BodyTooSlow) -> Response:
        answer = gate.too_slow()
        answer.headers = {**answer.headers, "connection": "close"}
        return _response(answer)

    async def left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)

    async def ours(request: Request, error: Exception) -> Response:
        return _response(bug(error))

    answers: dict[type[Exception], Handler] = {
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

    async def ask(request: Request) -> Response:
        body, seconds = await request.body(), _patience(request)
        if engine.full:  # it was not when the head came
            return _response(gate.busy())
        task = asyncio.ensure_future(engine.answer(request.url.path, body, seconds))
        watch = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientLeft
            answer = task.result()
        finally:
            task.cancel()
            watch.cancel()
        request.scope["braid"].said.update(answer.said)
        if answer.stages is not None:
            metrics.told(answer.stages)
        return _response(answer)

    async def tasks() -> Response:
        return Response(dumps(engine.facts), media_type=JSON)

    async def live() -> Response:
        return Response(b'{"status":"live"}', media_type=JSON)

    async def ready() -> Response:
        good = engine.ready and not gate.draining
        status = "ready" if good else "draining" if gate.draining else "loading"
        content = {"status": status, "models": list(engine.facts["models"])}
        return Response(dumps(content), 200 if good else 503, media_type=JSON)

    async def figures() -> Response:
        metrics.inside.set(engine.inside)
        metrics.queue.set(engine.waiting)
        metrics.memory.clear()
        for name, held in engine.memory().items():
            metrics.memory.labels(name).set(held)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def reload(request: Request) -> Response:
        if options.api_key is None:
            raise Refused(403, "key", "reloading over HTTP needs a server with --api-key; or send it SIGHUP")
        model, known = parsed(await request.body(), ReloadRequest, empty=True).model, engine.facts["models"]
        if model is not None and model not in known:
            message = f"there is no model {model!r}: {did_you_mean(model, known)}"
            raise Refused(422, "model", message, where="model")
        try:
            names = await engine.reload(model)
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
        return HTMLResponse(page if page is not None else front(list(engine.facts["models"])))

    async def page(name: str) -> Response:
        content = page_file(name)
        if content is None:
            raise HTTPException(404, "Not Found")
        return Response(content, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")

    known: dict[int, dict[str, Any]] = {}

    def _schema() -> dict[str, Any]:
        if engine.version not in known:
            known.clear()
            known[engine.version] = schema_of(engine.facts, version)
        return known[engine.version]

    handlers: Mapping[str, Callable[..., Any]] = {
        **dict.fromkeys(QUEUED, ask),
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
    gate.shortcuts = dict.fromkeys(QUEUED, _shortcut(ask, answers))
    return gate


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, JSON)


def _shortcut(handler: Callable[[Request], Awaitable[Response]], answers: Mapping[type[Exception], Handler]) -> App:
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
