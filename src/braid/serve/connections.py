"""Connections that do not let a client hold them for nothing: heads, leftovers and answers have to move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from braid.serve.limits import Limits

HEAD = 65_536
"""Bytes that a request's head may have."""
PIECE = 8_192
"""Bytes of a head that are parsed at a time; it may be longer than `HEAD` by so many."""
DISCARD = 64_000_000
"""Bytes of a body that are read and thrown away once its request was answered (with 413, say), so that the client
comes to read the answer."""
STRIDE = 262_144
"""Bytes of such a body that earn its client as much time again."""


TurnedAway = Callable[[MutableMapping[str, Any]], bytes | None]
"""A request's scope -> the whole answer, where it is turned away at the door; else None."""


def protocol(limits: Limits, turned_away: TurnedAway = lambda scope: None) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with these limits. *turned_away* is asked as soon as a request's head is there: such an answer
    costs neither a task nor the body's reading."""

    class Connection(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._received = self._minded = 0
            self._heading = True
            self._leftover = False
            self._patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
            else:
                self._mind()

        def connection_lost(self, exc: Exception | None) -> None:
            self._rest()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            # What comes at once may be a head with much of its body: the parser says where the one ends.
            given = memoryview(data)
            while given:
                piece = given[:PIECE] if self._heading else given
                given = given[len(piece) :]
                self._received += len(piece)
                super().data_received(bytes(piece))
                if self._received > (HEAD if self._heading else limits.max_bytes + DISCARD):
                    self.transport.abort()
                    return
            if self._leftover and self._patience is not None and self._received - self._minded > STRIDE:
                self._mind()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._received, self._heading, self._leftover = 0, True, False
            self._mind()

        def on_headers_complete(self) -> None:
            self._heading = False
            self._rest()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._rest()
            super().on_message_complete()

        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            plain = cycle.keep_alive and not cycle.waiting_for_100_continue and not self.pipeline
            answer = turned_away(cycle.scope) if plain else None
            if answer is None:
                super()._start_asgi_task(cycle, app)
                return
            cycle.response_started = cycle.response_complete = True
            self.transport.write(answer)
            cycle.on_response()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle is not None and self.cycle.more_body and self.cycle.response_complete:
                self._leftover = True
                self._mind()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._mind()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._rest()

        def timeout_keep_alive_handler(self) -> None:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                super().timeout_keep_alive_handler()

        def _mind(self) -> None:
            """End the connection unless what it waits for comes in time."""
            self._rest()
            self._minded = self._received
            self._patience = self.loop.call_later(limits.body_seconds, self.transport.abort)

        def _rest(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return Connection
