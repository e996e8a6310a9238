"""What a request is answered, and who answers it: an engine, in this process or in others."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from braid.serve.wire import dumps


@dataclass
class Stages:
    """Seconds that a request spent: being read, waiting, being computed, being told."""

    read: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    tell: float = 0.0
    tokens: int = 0
    rows: int = 0


@dataclass
class Answer:
    """Status, body (JSON) and headers. *said*: what the access log says of it; *stages*: where its time went, for
    requests that came to their end."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    stages: Stages | None = None


def refusal(
    status: int, kind: str, message: str, *, where: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer that says what is wrong."""
    return Answer(status, dumps({"error": {"type": kind, "message": message, "where": where}}), headers or {})


def bug(error: BaseException) -> Answer:
    """The answer where we are to blame; standard error says more."""
    traceback.print_exception(error)
    return refusal(500, "bug", "this is a bug in Braid, not in what you sent")


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, kind: str, message: str, *, where: str | None = None) -> None:
        self.answer = refusal(status, kind, message, where=where)
        super().__init__(message)


@dataclass
class Observer:
    """Who hears of batches, tokens and rows of each and seconds that it took; and of requests that left the queue
    unanswered, and why."""

    batch: Callable[[int, int, float], None] = lambda tokens, rows, seconds: None
    dropped: Callable[[str], None] = lambda why: None


class Busy(Exception):
    """The queue is full; *seconds*: when to come again."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"the queue is full; come again in {seconds} s")

    def answer(self) -> Answer:
        """429."""
        return refusal(429, "busy", str(self), headers={"retry-after": str(self.seconds)})


class Door(Protocol):
    """What the gate asks before it lets a request in. *full*: whether a request is to be turned away."""

    @property
    def full(self) -> bool: ...
    def busy(self) -> Busy:
        """What it is told then."""


class Engine(Door, Protocol):
    """Who answers. *inside*: requests that were let in and have no answer yet; *waiting*: tokens that wait; *facts*:
    what `GET /tasks` says; *version*: grows with every reload; *observer*: set by who wants to hear."""

    observer: Observer

    @property
    def inside(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def facts(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...
    async def answer(self, path: str, body: bytes, seconds: float | None = None) -> Answer:
        """What a body sent to a path is answered, within so many seconds. Cancelled, it leaves the queue."""

    async def reload(self, model: str | None = None) -> list[str]:
        """Load one model (None: all) anew; gives the names. Raises BraidError, and the old ones go on."""

    def memory(self) -> dict[str, int]:
        """Bytes that processes of its own hold, by their names."""
