"""The process of an engine: it reads what is asked from its standard input and writes what it answers to its standard
output, in frames. It ends when its input does, once what it was asked is answered; at once while models are loaded.

Frames in: `options`, first of all; `ask` (a number, with `path`, `seconds` and the body), `leave` (the number: nobody
waits any more), `reload` (a number, with `model`). Frames out: `ready` (facts) or `failed` (why), first of all;
`answer` (the number, with what an `Answer` is made of); `reloaded` (the number, with facts or `failed`); `state`
(see `State`) before each of them and after each batch, with the batches and dropped requests since.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, astuple, dataclass
from typing import Any

import torch

from braid.errors import BraidError
from braid.model.precision import device_of
from braid.serve.answer import Answer, Observer, bug
from braid.serve.answering import LocalEngine
from braid.serve.batching import Batcher
from braid.serve.garbage import ENGINE, settle
from braid.serve.jobs import Together
from braid.serve.limits import ServeOptions
from braid.serve.models import Models, Served
from braid.serve.wire import Frames, frame

LANES = 2
"""Batches that are computed side by side on a CPU: while one of them is taken apart or put together, which takes one
core, the others go on."""
LESS_URGENT = 5
"""Niceness: the front, which needs a core for a moment, should not wait for one."""
PIECE = 1 << 18
"""Bytes that are read at a time."""

Write = Callable[[bytes], None]
Frame = tuple[dict[str, Any], bytes]
Hearing = Future[Callable[[Frame | None], Any]]
"""Who hears of each frame, and of their end (None): there once the models are loaded."""


@dataclass(frozen=True)
class State:
    """What the front needs to know whether an engine's queue is full: tokens that wait; bytes of bodies that have been
    read so far, refused ones too; tokens that may wait; tokens a second; tokens a byte."""

    tokens: int = 0
    read: int = 0
    bound: int = 0
    rate: float = 0.0
    density: float = 0.0


def run(load: Callable[..., Any]) -> int:
    """The whole life of an engine's process (*load*: `braid.load`); gives its exit code."""
    out = _standard_output()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(LESS_URGENT)
    frames = _arriving()
    first = next(frames, None)
    if first is None:  # the front ended at once
        return 1
    options = ServeOptions.model_validate(first[0]["options"])
    hearing: Hearing = Future()
    threading.Thread(target=_listen, args=(frames, hearing), name="braid-listen", daemon=True).start()

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(out, view) :]

    try:
        engine = prepared(options, load)
    except BraidError as error:
        write(frame({"kind": "failed", "message": str(error)}))
        return 2
    engine.batcher.start()
    settle(ENGINE)
    try:
        asyncio.run(Process(engine, write).serve(hearing))
    finally:
        engine.batcher.stop()
    return 0


def prepared(options: ServeOptions, load: Callable[..., Any]) -> LocalEngine:
    """An engine with its models loaded, as many threads and batches side by side as its options say. Raises BraidError
    for what cannot be loaded."""
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
    return LocalEngine(options, models, Batcher(options.batch_tokens or budget, options.limits, lanes=lanes))


class Process:
    """An engine behind frames."""

    def __init__(self, engine: LocalEngine, write: Write) -> None:
        self.engine, self._write = engine, write
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._arrived = 0
        """Bytes of bodies that have come."""
        self._batches: deque[tuple[int, int, float]] = deque()
        self._dropped: list[str] = []
        self._out: list[bytes] = []
        self._ended = asyncio.Event()
        engine.observer = Observer(self._batch, self._drop)

    async def serve(self, hearing: Hearing) -> None:
        """Until the frames end and what they asked is answered."""
        self._loop = asyncio.get_running_loop()
        self._say({"kind": "ready", "facts": self.engine.facts})
        hearing.set_result(lambda frame: self._loop.call_soon_threadsafe(self._hear, frame))
        await self._ended.wait()
        while self._asked:
            await asyncio.wait(list(self._asked.values()))
        self._flush()

    @property
    def state(self) -> State:
        """As it is now."""
        batcher = self.engine.batcher
        read = self._arrived - batcher.reading
        return State(batcher.queue.tokens, read, batcher.bound, round(batcher.rate, 1), round(batcher.density, 4))

    def _hear(self, frame: Frame | None) -> None:
        if frame is None:
            self._ended.set()
            return
        head, body = frame
        number = head["number"]
        if head["kind"] == "leave":
            if number in self._asked:
                self._asked[number].cancel()
                self._soon()  # it may not even have begun, and would say nothing
            return
        self._arrived += len(body)
        begin = self._answer(head, body) if head["kind"] == "ask" else self._reload(head)
        task = self._asked[number] = asyncio.ensure_future(begin)
        task.add_done_callback(lambda task: self._asked.pop(number))

    async def _answer(self, head: dict[str, Any], body: bytes) -> None:
        try:
            found = await self.engine.answer(head["path"], body, head["seconds"])
        except Exception as error:
            found = bug(error)
        said = asdict(Answer(found.status, b"", found.headers, found.said, found.stages))
        del said["body"]
        self._say({"kind": "answer", "number": head["number"], "answer": said}, found.body)

    async def _reload(self, head: dict[str, Any]) -> None:
        told: dict[str, Any] = {"kind": "reloaded", "number": head["number"]}
        try:
            told["names"] = await self.engine.reload(head["model"])
            told["facts"] = self.engine.facts
        except Exception as error:
            if not isinstance(error, BraidError):
                bug(error)
            told["failed"] = str(error) or type(error).__name__
        self._say(told)

    def _batch(self, tokens: int, rows: int, seconds: float) -> None:
        """A thread has computed a batch."""
        self._batches.append((tokens, rows, seconds))
        self._loop.call_soon_threadsafe(self._soon)

    def _drop(self, why: str) -> None:
        self._dropped.append(why)
        self._soon()

    def _say(self, head: dict[str, Any], body: bytes = b"") -> None:
        self._soon()
        self._out.append(frame(head, body))

    def _soon(self) -> None:
        """Write in a moment, so that what is said at once is written at once."""
        if not self._out:
            self._out.append(b"")
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        dropped, self._dropped = self._dropped, []
        state = {"kind": "state", "state": astuple(self.state), "batches": batches, "dropped": dropped}
        out, self._out = [frame(state), *self._out], []
        try:
            self._write(b"".join(out))
        except BrokenPipeError:  # the front is gone, and with it whoever asked; the input ends too
            for task in self._asked.values():
                task.cancel()


def _listen(frames: Iterator[Frame], hearing: Hearing) -> None:
    """The thread that reads. While models are loaded nothing is asked: an end that comes then ends the process."""
    for one in frames:
        hearing.result()(one)
    if not hearing.done():
        os._exit(1)
    hearing.result()(None)


def _arriving() -> Iterator[Frame]:
    """Frames from standard input."""
    frames = Frames()
    while data := os.read(0, PIECE):
        yield from frames.feed(data)


def _standard_output() -> int:
    """Standard output, for frames alone: what anyone prints goes to standard error from now on."""
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _asked(options: ServeOptions) -> dict[str, Any]:
    """How models are to be loaded: what the user said of it, nothing else."""
    found: dict[str, Any] = {
        "device": options.device,
        "precision": options.precision,
        "batch_tokens": options.batch_tokens,
    }
    if options.trust:
        found["trusted"] = True
    return {key: value for key, value in found.items() if value is not None}
