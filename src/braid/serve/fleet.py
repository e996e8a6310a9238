"""All engines as one: whoever has least to do is asked; one that ends is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from braid.errors import BraidError
from braid.serve.answer import Answer, Busy, Observer, refusal
from braid.serve.limits import ServeOptions
from braid.serve.link import EngineEnded, Link

MARGIN = 5.0
"""Seconds beyond its deadline after which a request's engine is taken to be stuck."""
TICK = 0.1
LONGEST = 30.0
"""Seconds between two tries to begin an engine anew, at most."""


class Fleet:
    """The engines of a server (see `answer.Engine`)."""

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.observer = Observer()
        self.links: list[Link] = []
        self.inside = 0
        """Requests that were let in and have no answer yet."""
        self.version = 0
        """Grows with every reload."""
        self._reloads = 0
        """How often models were to be loaded anew."""
        self._facts: dict[str, Any] = {}
        self._minded: list[asyncio.Task[None]] = []

    async def start(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Begin all engines; gives whether they are ready, or *cancelled* (asked again and again) was true before.
        Raises BraidError where one cannot load its models."""
        self.links = [self._link() for _ in range(self.options.workers)]
        starting = [asyncio.ensure_future(link.start()) for link in self.links]
        while not cancelled():
            done, waiting = await asyncio.wait(starting, timeout=TICK, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for task in done if (error := task.exception()) is not None]
            if errors and not cancelled():  # what stops all processes at once may stop an engine first
                await self._give_up(starting)
                raise errors[0]
            if not waiting:
                self._changed()
                self._minded = [asyncio.ensure_future(self._mind(place)) for place in range(len(self.links))]
                return True
        await self._give_up(starting)
        return False

    async def _give_up(self, starting: list[asyncio.Task[None]]) -> None:
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(link.stop(patience=0) for link in self.links))

    async def stop(self) -> None:
        """End all engines, after what they were asked."""
        for task in self._minded:
            task.cancel()
        await asyncio.gather(*self._minded, return_exceptions=True)
        await asyncio.gather(*(link.stop() for link in self.links))

    async def _mind(self, place: int) -> None:
        """Replace an engine each time that it ends."""
        while True:
            code = await asyncio.shield(self.links[place].ended)
            print(f"braid: an engine ended with {code}; another begins", file=sys.stderr, flush=True)
            pause = 1.0
            while True:
                link, reloads = self._link(), self._reloads
                self.links[place] = link
                try:
                    await link.start()
                except BraidError as error:
                    print(f"braid: {error}; again in {pause:g} s", file=sys.stderr, flush=True)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST)
                    continue
                if self._reloads == reloads:
                    break
                await link.stop()  # it may have loaded what was there before
            self._changed()

    def _link(self) -> Link:
        return Link(self.options, self._heard)

    def _heard(self, head: dict[str, Any]) -> None:
        for tokens, rows, seconds in head["batches"]:
            self.observer.batch(tokens, rows, seconds)
        for why in head["dropped"]:
            self.observer.dropped(why)

    def _changed(self) -> None:
        self._facts = next((link.facts for link in self.links if link.ready), self._facts)
        self.version += 1

    @property
    def _ready(self) -> list[Link]:
        return [link for link in self.links if link.ready]

    @property
    def ready(self) -> bool:
        """Whether an engine is there to answer."""
        return any(link.ready for link in self.links)

    @property
    def facts(self) -> dict[str, Any]:
        """What `GET /tasks` says."""
        return self._facts

    @property
    def waiting(self) -> int:
        """Tokens that wait."""
        return sum(link.waiting for link in self.links)

    @property
    def full(self) -> bool:
        """Whether a request would be turned away."""
        ready = self._ready
        return self.inside >= self.options.limits.queue_requests or (bool(ready) and all(link.full for link in ready))

    def busy(self) -> Busy:
        """What it is told then."""
        rate = sum(link.rate for link in self._ready)
        return Busy(max(1, math.ceil(self.waiting / rate)) if rate else 1)

    async def answer(self, path: str, body: bytes, seconds: float | None = None) -> Answer:
        """By the engine that will have time first."""
        ready = self._ready
        if not ready:
            return refusal(503, "loading", "the models are being loaded", headers={"retry-after": "1"})
        link = min(ready, key=lambda link: link.waiting / (link.rate or 1.0))
        deadline = self.options.limits.deadline if seconds is None else min(seconds, self.options.limits.deadline)
        self.inside += 1
        try:
            async with asyncio.timeout(deadline + MARGIN):
                return await link.answer(path, body, seconds)
        except TimeoutError:
            return refusal(504, "deadline", f"no answer within {deadline:g} s")
        except EngineEnded:
            message = "the engine that had this request ended; another one begins"
            return refusal(503, "engine", message, headers={"retry-after": "1"})
        finally:
            self.inside -= 1

    async def reload(self, model: str | None = None) -> list[str]:
        """One engine after the other, so that the others answer meanwhile; the first that cannot ends it."""
        self._reloads += 1
        names = list(self.facts["models"]) if model is None else [model]
        for place, link in enumerate(self._ready):
            try:
                names = await link.reload(model)
            except EngineEnded:  # the one that comes in its place loads what is there now
                continue
            except BraidError as error:
                before = f"{place} of {len(self.links)} engines have the new one; " if place else ""
                raise BraidError(f"{before}{error}") from error
            finally:
                self._changed()
        return names

    def memory(self) -> dict[str, int]:
        """Bytes that the engines hold (on Linux), by their places."""
        found = {}
        for place, link in enumerate(self.links):
            with contextlib.suppress(OSError, StopIteration, AttributeError):
                lines = Path(f"/proc/{link.process.pid}/status").read_text().splitlines()
                found[str(place)] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024
        return found
