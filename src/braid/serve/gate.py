"""The gate: what every request passes before the application sees it. Key, size, patience, the access log, figures.

Plain ASGI, since a request that is turned away must cost next to nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from braid.serve.answer import Answer, Door, refusal
from braid.serve.limits import ServeOptions
from braid.serve.metrics import Metrics
from braid.serve.wire import dumps

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = ("/", "/health", "/health/live", "/health/ready", "/metrics")
"""What needs no key, with the page's files."""
PAGE = "/page/"
QUEUED = ("/predict", "/embed")
"""What a full queue turns away."""
ROUTES = (*OPEN, *QUEUED, "/tasks", "/docs", "/openapi.json", "/admin/reload")
BODIES = 64
"""Bodies of the largest size that may be in the house at once; with more bytes, requests get 429."""
IDENTITY = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")


class BodyTooLarge(Exception):
    """A body has more bytes than it may."""


class NoRoom(Exception):
    """All bodies together have more bytes than they may."""


class BodyTooSlow(Exception):
    """A body did not come in time."""


class ClientLeft(Exception):
    """The client closed the connection."""


@dataclass
class Trace:
    """What the access log says of one request. The application adds to *said*."""

    request_id: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    said: dict[str, Any] = field(default_factory=dict)


class Gate:
    """Middleware around the application."""

    def __init__(self, app: App, options: ServeOptions, door: Door, metrics: Metrics) -> None:
        self.app, self.options, self.door, self.metrics = app, options, door, metrics
        self.draining = False
        """Whether every answer says that the connection ends."""
        self.held = 0
        """Bytes of all bodies that are in the house."""
        self.shortcuts: Mapping[str, App] = {}
        """Applications of the routes that are asked most often (with POST), by path."""
        self._key = options.api_key.get_secret_value().encode() if options.api_key else None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace = Trace(_identity(headers))
        scope["braid"] = trace

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", trace.request_id.encode())]
                if self.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        body = _Body(self, receive)
        try:
            refused = self._refused(scope["path"], headers)
            if refused is not None:
                await _respond(answer, refused)
            else:
                app = self.shortcuts.get(scope["path"]) if scope["method"] == "POST" else None
                await (app or self.app)(scope, body, answer)
        finally:
            self.held -= body.size
            self._note(scope, trace)

    def _refused(self, path: str, headers: dict[bytes, bytes]) -> Answer | None:
        if path not in OPEN and not path.startswith(PAGE) and not self._knows(headers):
            self.metrics.rejected.labels("key").inc()
            message = "this server wants its key: `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            if path == "/docs":
                message += "; in a browser, open the page at /, give it the key, and follow its link"
            return refusal(401, "key", message, headers={"www-authenticate": "Bearer"})
        if not self._fits(headers):
            return self.too_large()
        if path in QUEUED and self.door.full:
            return self.busy()
        return None

    def _knows(self, headers: Mapping[bytes, bytes]) -> bool:
        if self._key is None:
            return True
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return hmac.compare_digest(given, self._key)

    def _fits(self, headers: Mapping[bytes, bytes]) -> bool:
        length = headers.get(b"content-length", b"0")
        return length.isdigit() and int(length) <= self.options.limits.max_bytes

    def turned_away(self, scope: MutableMapping[str, Any]) -> bytes | None:
        """What a full queue answers, as bytes for the wire, for a connection that asks as soon as it has a request's
        head: in an overload most requests end here. None: this request is not turned away (or not for that)."""
        if scope["path"] not in QUEUED or scope["method"] != "POST" or self.draining or not self.door.full:
            return None
        headers = dict(scope["headers"])
        if not self._knows(headers) or not self._fits(headers):
            return None
        trace = Trace(_identity(headers), status=429)
        answer = self.busy()
        fields = {**_fields(answer), "x-request-id": trace.request_id}
        self._note(scope, trace)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 429 Too Many Requests\r\n{head}\r\n".encode() + answer.body

    def busy(self) -> Answer:
        """What a full queue answers."""
        self.metrics.rejected.labels("busy").inc()
        return self.door.busy().answer()

    def too_large(self) -> Answer:
        """What a body is answered that has too many bytes."""
        self.metrics.rejected.labels("bytes").inc()
        message = f"a body may have {self.options.limits.max_bytes:,} bytes; send less at a time"
        return refusal(413, "too_large", message, where="body")

    def too_slow(self) -> Answer:
        """What a body is answered that does not come."""
        self.metrics.rejected.labels("slow").inc()
        return refusal(408, "slow", f"the body did not come within {self.options.limits.body_seconds:g} s")

    def _note(self, scope: MutableMapping[str, Any], trace: Trace) -> None:
        path, seconds = scope["path"], time.perf_counter() - trace.began
        route = path if path in ROUTES else "other"
        self.metrics.requests.labels(route, str(trace.status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        if self.options.log == "off" or route.startswith("/health") or route == "/metrics":
            return
        milliseconds = round(1000 * seconds, 2)
        client = scope["client"][0] if scope.get("client") else None
        if self.options.log == "json":
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "id": trace.request_id,
                "client": client,
                "method": scope["method"],
                "path": path[:200],
                "status": trace.status,
                "milliseconds": milliseconds,
                **trace.said,
            }
            print(dumps(line).decode("utf-8"), file=sys.stderr)
        else:
            said = " ".join(f"{key}={json.dumps(value)}" for key, value in trace.said.items())
            shown = json.dumps(path[:200])[1:-1]
            print(f"{client} {scope['method']} {shown} {trace.status} {milliseconds} ms {said}", file=sys.stderr)


def _identity(headers: Mapping[bytes, bytes]) -> str:
    asked = headers.get(b"x-request-id", b"")
    return asked.decode() if IDENTITY.fullmatch(asked) else f"{random.getrandbits(64):016x}"


def _fields(answer: Answer) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(answer.body)), **answer.headers}


async def _respond(send: Send, answer: Answer) -> None:
    encoded = [(key.encode(), value.encode()) for key, value in _fields(answer).items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})


class _Body:
    """`receive` that counts bytes and minds the time until the body is there; then it tells of clients that leave."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate, self._limits, self._receive = gate, gate.options.limits, receive
        self._until = time.monotonic() + self._limits.body_seconds
        self.size = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        if message["type"] == "http.disconnect":
            raise ClientLeft
        size = len(message.get("body", b""))
        self.size += size
        self._gate.held += size
        if self.size > self._limits.max_bytes:
            raise BodyTooLarge
        if self._gate.held > BODIES * self._limits.max_bytes:
            raise NoRoom
        self._whole = not message.get("more_body", False)
        return message
