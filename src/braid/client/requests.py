"""What clients send and understand, whether they wait or not: bodies, pieces of long lists, when to try again."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from braid.errors import BraidError

ROWS = 128
"""Inputs of a request; longer lists are sent in pieces."""
RETRY = frozenset({429, 503})
SLOWEST = 10.0
"""Seconds between two tries at most, whatever the server says."""


class ServerError(BraidError):
    """What a server answered that is no result. *status*: HTTP's; *kind*, *where*: the server's own words."""

    def __init__(self, status: int, kind: str, message: str, where: str | None = None) -> None:
        self.status, self.kind, self.where = status, kind, where
        super().__init__(f"{message} ({where})" if where and where not in message else message)


def sendable(given: Any) -> Any:
    """One input as JSON: a text, or a row. Raises BraidError."""
    if isinstance(given, str):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        return {"text": given[0], "pair": given[1]}
    if isinstance(given, Mapping):
        return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    raise BraidError(f"cannot predict on {type(given).__name__}: give a text, (text, pair), or a row")


def pieces(inputs: Sequence[Any], size: int = ROWS) -> Iterator[list[Any]]:
    """Lists of about *size* inputs; neighbours with one query, which are ranked against each other, stay together."""
    piece: list[Any] = []
    query: object = None
    for given in inputs:
        own = given.get("query") if isinstance(given, Mapping) else None
        if len(piece) >= size and (own is None or own != query):
            yield piece
            piece = []
        piece.append(given)
        query = own
    if piece:
        yield piece


def body(inputs: Sequence[Any], tasks: Iterable[str] | None, model: str | None) -> dict[str, Any]:
    """Of `POST /predict`."""
    wanted = [tasks] if isinstance(tasks, str) else None if tasks is None else list(tasks)
    content: dict[str, Any] = {"inputs": list(inputs)}
    return content | ({} if wanted is None else {"tasks": wanted}) | ({} if model is None else {"model": model})


def pause(attempt: int, told: str | None) -> float:
    """Seconds until the next try: what the server says (*told*, its Retry-After), else 0.1, 0.2, 0.4, ...; with some
    chance in it, so that clients do not come back all at once."""
    try:
        seconds = float(told) if told is not None else 0.1 * 2**attempt
    except ValueError:
        seconds = 1.0
    return min(seconds, SLOWEST) * random.uniform(0.5, 1.0)


def fault(status: int, content: Any) -> ServerError:
    """An error that a server answered with."""
    found = content.get("error") if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return ServerError(status, "http", f"the server answered {status}; is it `braid serve`?")
    return ServerError(status, str(found.get("type")), str(found.get("message")), found.get("where"))
