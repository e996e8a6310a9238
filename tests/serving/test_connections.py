"""Requests that end at the door: answers without a task, by the bytes that a client gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from braid.serve.batching import Batcher
from braid.serve.connections import protocol
from braid.serve.gate import Gate
from braid.serve.limits import ServeOptions
from braid.serve.metrics import Metrics

BODY = b'{"text":"a"}'
HEAD = b"POST /predict HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\ncontent-length: %d\r\n" % len(BODY)
LENT = HEAD + b"\r\n" + BODY


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.written.split(b"HTTP/1.1 ")[1:]]


def answered(*sent: bytes, full: bool = True, **options: Any) -> tuple[Wire, Gate, list[str]]:
    """What a connection answers to what is sent, one after the other, and the paths that came to the application."""
    given = ServeOptions.model_validate({"runs": {"a": "."}, "log": "off", **options})
    batcher = Batcher(100, given.limits)
    batcher.inside = given.limits.queue_requests if full else 0
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> tuple[Wire, Gate, list[str]]:
        gate = Gate(app, given, batcher, Metrics())
        http = protocol(given.limits, gate.turned_away)
        config = uvicorn.Config(gate, http=http, ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        connection = http(config=config, server_state=ServerState(), app_state={})
        wire = Wire()
        connection.connection_made(wire)
        for data in sent:
            connection.data_received(data)
            await asyncio.sleep(0.01)
        closed = wire.closed
        connection.connection_lost(None)
        wire.closed = closed
        return wire, gate, seen

    return asyncio.run(main())


def test_a_full_queue_answers_before_the_body_is_there() -> None:
    wire, gate, seen = answered(HEAD + b"\r\n")
    assert wire.statuses() == [429]
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"retry-after: 1" in head
    assert b"x-request-id: mine" in head
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["error"]["type"] == "busy"
    assert seen == []
    text = gate.metrics.text().decode()
    assert 'braid_requests_total{route="/predict",status="429"} 1.0' in text
    assert 'braid_rejected_total{why="busy"} 1.0' in text


def test_the_connection_goes_on_after_the_body() -> None:
    wire, _, _ = answered(HEAD + b"\r\n", BODY, LENT, LENT + LENT)
    assert wire.statuses() == [429] * 4
    assert not wire.closed


def test_many_requests_sent_at_once_are_all_answered() -> None:
    wire, _, _ = answered(LENT * 500)
    assert wire.statuses() == [429] * 500


@pytest.mark.parametrize(
    ("request_line", "expected"), [(b"GET /health", 200), (b"POST /tasks", 200), (b"GET /predict", 429)]
)
def test_other_requests_take_the_usual_way(request_line: bytes, expected: int) -> None:
    wire, _, seen = answered(request_line + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert wire.statuses() == [expected]
    assert bool(seen) == (expected == 200)


def test_with_room_everything_comes_to_the_application() -> None:
    wire, _, seen = answered(LENT, LENT, full=False)
    assert wire.statuses() == [200, 200]
    assert seen == ["/predict"] * 2


@pytest.mark.parametrize(
    ("more", "status"), [(b"", 401), (b"x-api-key: other\r\n", 401), (b"x-api-key: secret\r\n", 429)]
)
def test_who_has_no_key_is_not_told_that_the_queue_is_full(more: bytes, status: int) -> None:
    wire, gate, _ = answered(HEAD + more + b"\r\n" + BODY, api_key="secret")
    assert wire.statuses() == [status]
    assert gate.metrics.text().decode().count('why="key"} 1.0') == (status == 401)


def test_what_is_too_large_is_told_so() -> None:
    wire, _, _ = answered(LENT, limits={"max_bytes": 3})
    assert wire.statuses() == [413]


@pytest.mark.parametrize("more", [b"connection: close\r\n", b"expect: 100-continue\r\n"])
def test_connections_with_wishes_of_their_own_get_the_same_answer(more: bytes) -> None:
    wire, _, _ = answered(HEAD + more + b"\r\n" + BODY)
    assert wire.statuses()[-1] == 429
    assert json.loads(wire.written.rpartition(b"\r\n\r\n")[2])["error"]["type"] == "busy"
    assert wire.closed == (more == b"connection: close\r\n")


def test_a_head_that_comes_at_once_with_a_large_body_is_no_large_head() -> None:
    body = b'{"text":"' + b"a" * 200_000 + b'"}'
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    for sent in ([head + body], [head[:20], head[20:] + body], [head + body + head, body]):
        wire, _, seen = answered(*sent, full=False)
        assert not wire.closed
        assert seen == ["/predict"] * b"".join(sent).count(b"POST")


def test_a_head_without_end_ends_the_connection() -> None:
    for sent in ([b"GET / HTTP/1.1\r\nx: " + b"a" * 80_000], [b"GET / HTTP/1.1\r\nx: ", *[b"a" * 1000] * 80]):
        assert answered(*sent)[0].closed
