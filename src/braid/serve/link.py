"""One engine's process, as the front sees it: asked over a pipe, answering over another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from itertools import count
from typing import Any

from braid.errors import BraidError
from braid.serve.answer import Answer, Stages
from braid.serve.limits import ServeOptions
from braid.serve.wire import Frames, frame

ENGINE = "braid.cli.engine"
PIECE = 1 << 18
"""Bytes that are read at a time."""
SLICE = 4
"""Frames after which the front looks who else wants something: a batch's answers come at once, and to write them all
takes longer than anyone who is to be turned away should wait."""
PATIENCE = 10.0
"""Seconds that an engine has to end."""


class EngineEnded(Exception):
    """The process ended before it answered."""


class Link:
    """An engine, from the start of its process to its end. *heard*: called with every `state`."""

    def __init__(self, options: ServeOptions, heard: Callable[[dict[str, Any]], None]) -> None:
        self.options, self._heard = options, heard
        self.facts: dict[str, Any] = {}
        self.ready = False
        self.tokens, self.read, self.bound, self.rate, self.density = 0, 0, 0, 0.0, 0.0
        """Its state, as of the last time that it said (see `process.State`)."""
        self._sent = 0
        """Bytes of bodies that it was sent."""
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}

    async def start(self) -> None:
        """Begin the process, and wait until its models are loaded. Raises BraidError where they cannot be."""
        try:
            self.process = await asyncio.create_subprocess_exec(
                *_command(),
                stdin=PIPE,
                stdout=PIPE,
                # Ctrl-C in a terminal is for the front. Not a session of its own: Linux would give it as much of the
                # cores as the front, however little urgent it is (sched(7), autogroups).
                preexec_fn=os.setpgrp if hasattr(os, "setpgrp") else None,
            )
        except OSError as error:
            raise BraidError(f"an engine could not start: {error}") from error
        self._began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.ensure_future(self._listen())
        self._write(
            frame({"options": self.options.model_dump(mode="json", exclude={"api_key", "tls_cert", "tls_key"})})
        )
        begun: list[asyncio.Future[Any]] = [self._began, self.ended]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if not self._began.done():
            code = await asyncio.shield(self.ended)
            raise BraidError(f"an engine could not start (exit code {code}); what it said stands above")
        self._began.result()

    async def stop(self, patience: float = PATIENCE) -> None:
        """Let it answer what it was asked, and end."""
        if not hasattr(self, "ended"):  # it has not even begun
            return
        self.ready = False
        stdin = self.process.stdin
        assert stdin is not None
        stdin.close()
        done, _ = await asyncio.wait([self.ended], timeout=patience)
        if not done:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.ended

    @property
    def waiting(self) -> int:
        """Tokens that wait, those of bodies that it has not read yet estimated."""
        return self.tokens + int(max(0, self._sent - self.read) * self.density)

    @property
    def full(self) -> bool:
        """Whether a request would wait longer than it may."""
        return self.waiting >= self.bound

    async def answer(self, path: str, body: bytes, seconds: float | None) -> Answer:
        """What it answers. Cancelled, it is told to forget the request. Raises EngineEnded."""
        self._sent += len(body)
        head, told = await self._ask({"kind": "ask", "path": path, "seconds": seconds}, body)
        found = head["answer"]
        stages = None if found["stages"] is None else Stages(**found["stages"])
        return Answer(found["status"], told, found["headers"], found["said"], stages)

    async def reload(self, model: str | None) -> list[str]:
        """The names of the models that it has loaded anew. Raises BraidError, EngineEnded."""
        head, _ = await self._ask({"kind": "reload", "model": model})
        if "failed" in head:
            raise BraidError(head["failed"])
        self.facts = head["facts"]
        names: list[str] = head["names"]
        return names

    async def _ask(self, head: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        if not self.ready:
            raise EngineEnded
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._write(frame({**head, "number": number}, body))
            return await answered
        except asyncio.CancelledError:
            if self.ready:
                self._write(frame({"kind": "leave", "number": number}))
            raise
        finally:
            self._asked.pop(number, None)

    def _write(self, data: bytes) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        if not stdin.is_closing():  # else it has just ended: who listens will notice
            stdin.write(data)

    async def _listen(self) -> int:
        """Until the process ends; gives its exit code."""
        stdout, frames = self.process.stdout, Frames()
        assert stdout is not None
        while data := await stdout.read(PIECE):
            for number, (head, body) in enumerate(frames.feed(data), 1):
                self._hear(head, body)
                if number % SLICE == 0:
                    await asyncio.sleep(0)
        self.ready = False
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(EngineEnded())
        return await self.process.wait()

    def _hear(self, head: dict[str, Any], body: bytes) -> None:
        match head["kind"]:
            case "state":
                self.tokens, self.read, self.bound, self.rate, self.density = head["state"]
                self._heard(head)
            case "ready":
                self.facts, self.ready = head["facts"], True
                self._began.set_result(None)
            case "failed":
                self._began.set_exception(BraidError(head["message"]))
            case _:
                answered = self._asked.get(head["number"])
                if answered is not None and not answered.done():
                    answered.set_result((head, body))


def _command() -> list[str]:
    """How an engine begins: with the modules that we have, not with those that lie where we were started."""
    here = [] if os.getcwd() in sys.path else ["-P"]
    return [sys.executable, *here, "-m", ENGINE]
