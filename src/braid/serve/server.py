"""A process that serves: models loaded, a socket, signals, and an end without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import uvicorn

from braid.errors import BraidError
from braid.model.precision import device_of
from braid.serve.app import create
from braid.serve.batching import Batcher
from braid.serve.connections import protocol
from braid.serve.gate import Gate
from braid.serve.jobs import Together
from braid.serve.limits import ServeOptions
from braid.serve.listening import url
from braid.serve.metrics import Metrics
from braid.serve.models import Models, Served, settle

BACKLOG = 2048
KEEP_ALIVE = 15
SETTLE = 0.1
"""Seconds for bytes that have arrived to be read, before connections that seem idle are closed."""
SWITCH = 0.002
"""Seconds after which Python makes a thread wait for others: with its usual 5 ms the event loop would wait long, with
much less it would be made to wait itself before it has done anything."""
LANES = 2
"""Batches that are computed side by side on a CPU: while one of them is taken apart or put together, which takes one
core, the others go on."""


def serve(options: ServeOptions, sock: socket.socket, *, load: Callable[..., Any], version: str) -> None:
    """Load the models (*load*: `braid.load`), then answer until a signal says otherwise. Raises BraidError for what
    cannot be loaded."""
    sys.setswitchinterval(SWITCH)
    _many_files()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = options.threads or max(1, cores // options.workers)
    lanes = min(LANES, threads) if device_of(options.device).type == "cpu" else 1
    torch.set_num_threads(-(-threads // lanes))
    models = Models(options.runs, lambda name, path: Served.of(name, path, load(path, **_asked(options))))
    models.load()
    if not all(isinstance(served.predicting, Together) for served in models):
        lanes = 1  # a predictor that is only known to be callable is called once at a time
        torch.set_num_threads(threads)
    budget = min(int(getattr(served.predictor, "batch_tokens", None) or 2048) for served in models)
    batcher = Batcher(options.batch_tokens or budget, options.limits, lanes=lanes)
    gate = create(options, models, batcher, Metrics(), version=version)
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
    batcher.start()
    settle()
    server = Server(config, gate, options, models, url(options, sock))
    try:
        server.run(sockets=[sock])
    finally:
        batcher.stop()


class Server(uvicorn.Server):
    """uvicorn's, which on SIGTERM first says so for a while, then closes the door, then ends what is under way; on
    SIGHUP loads its models anew."""

    def __init__(self, config: uvicorn.Config, gate: Gate, options: ServeOptions, models: Models, where: str) -> None:
        super().__init__(config)
        self.gate, self.options, self.models, self.where = gate, options, models, where
        self._close_at = float("inf")
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        for served in self.models:
            tasks = ", ".join(served.describe()["tasks"])
            _say(f"{served.name}: {served.path} ({tasks})")
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
        try:
            names = await asyncio.to_thread(self.models.reload)
        except Exception as error:
            self.gate.metrics.reloads.labels("failed").inc()
            _say(f"not reloaded, the old models go on: {error}")
        else:
            self.gate.metrics.reloads.labels("done").inc()
            _say(f"reloaded: {', '.join(names)}")


def _asked(options: ServeOptions) -> dict[str, Any]:
    """How models are to be loaded: what the user said of it, nothing else."""
    found = {"device": options.device, "precision": options.precision, "batch_tokens": options.batch_tokens}
    return {key: value for key, value in found.items() if value is not None}


def _many_files() -> None:
    """As many connections as the system lets us have."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else soft, hard))


def _say(message: str) -> None:
    print(f"braid: {message}", file=sys.stderr, flush=True)
