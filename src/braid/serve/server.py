"""The front: the process that clients talk to. It knows no model, no torch, and never computes, so that it is always
there: to say that it is busy, that it is well, or that it is about to end without losing a request.

request -> `connections` (a head) -> `gate` (key, size, room) -> `app` (a route) -> `fleet` -> `link` -> pipe ->
`process` -> `answering` -> `batching` -> `jobs` (the model) -> all the way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn

from braid.errors import BraidError
from braid.serve.app import create
from braid.serve.connections import protocol
from braid.serve.fleet import Fleet
from braid.serve.garbage import FRONT, settle
from braid.serve.gate import Gate
from braid.serve.limits import ServeOptions
from braid.serve.listening import url
from braid.serve.metrics import Metrics

BACKLOG = 2048
KEEP_ALIVE = 15
SETTLE = 0.1
"""Seconds for bytes that have arrived to be read, before connections that seem idle are closed."""


def serve(options: ServeOptions, sock: socket.socket, *, version: str) -> None:
    """Begin the engines, which load the models, then answer until a signal says otherwise. Raises BraidError for what
    cannot be loaded."""
    _many_files()
    fleet = Fleet(options)
    gate = create(options, fleet, Metrics(), version=version)
    config = uvicorn.Config(
        gate,
        interface="asgi3",
        http=protocol(options.limits, gate.turned_away),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(options.drain) or 1,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise BraidError(f"--tls-cert, --tls-key: {error}") from error
    Server(config, gate, options, fleet, url(options, sock)).run(sockets=[sock])


class Server(uvicorn.Server):
    """uvicorn's, which begins and ends the engines; on SIGTERM it first says so for a while, then closes the door, then
    ends what is under way; on SIGHUP it has the models loaded anew."""

    def __init__(self, config: uvicorn.Config, gate: Gate, options: ServeOptions, fleet: Fleet, where: str) -> None:
        super().__init__(config)
        self.gate, self.options, self.fleet, self.where = gate, options, fleet, where
        self._close_at = float("inf")
        self._reloads: set[asyncio.Task[None]] = set()
        self._started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin the engines; then listen, and say where. Raises BraidError."""
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        _say(f"loading {', '.join(self.options.runs)}")
        if not await self.fleet.start(lambda: self.gate.draining):
            self.should_exit = True
            return
        try:
            for sock in sockets or []:
                sock.listen(BACKLOG)  # uvloop does not say where another process was sooner
        except OSError as error:
            await self.fleet.stop()
            raise BraidError(f"cannot serve at {self.where}: {error.strerror or error}") from error
        settle(FRONT)
        await super().startup(sockets)
        self._started.set()
        for name, model in self.fleet.facts["models"].items():
            _say(f"{name}: {self.options.runs[name]} ({', '.join(model['tasks'])})")
        _say(f"serving at {self.where} (page /, routes /docs, figures /metrics); Ctrl-C or SIGTERM ends it")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, a second one hastens it."""
        if self.gate.draining:
            self.should_exit = self.force_exit = True
        else:
            self.gate.draining = True
            self._close_at = time.monotonic() + self.options.grace
            _say(f"{signal.Signals(sig).name}: ending; requests that are here are answered first")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to close the door."""
        if time.monotonic() >= self._close_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door; answer everybody who is inside."""
        for sock in sockets or []:
            await self._let_in(sock)
        for server in self.servers:
            server.close()
        await asyncio.sleep(SETTLE)
        await super().shutdown(sockets)
        await self.fleet.stop()
        _say("ended")

    async def _let_in(self, sock: socket.socket) -> None:
        """Connections that stand before the door when it closes would be reset: take them in."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._connection, connection, ssl=self.config.ssl)

    def _connection(self) -> Any:
        made: Any = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _reload(self) -> None:
        task = asyncio.ensure_future(self._reloaded())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reloaded(self) -> None:
        await self._started.wait()
        try:
            names = await self.fleet.reload()
        except Exception as error:
            self.gate.metrics.reloads.labels("failed").inc()
            _say(f"not reloaded, the old models go on: {error}")
        else:
            self.gate.metrics.reloads.labels("done").inc()
            _say(f"reloaded: {', '.join(names)}")


def _many_files() -> None:
    """As many connections as the system lets us have."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))


def _say(message: str) -> None:
    print(f"braid: {message}", file=sys.stderr, flush=True)
