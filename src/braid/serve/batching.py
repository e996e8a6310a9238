"""Requests become batches. Three kinds of threads share the work, so that the event loop only ever waits: some read
(check and tokenise), one computes batch after batch, one tells (decodes, writes JSON).

Nothing waits for a batch to fill: while one is computed, the next one gathers.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from braid.serve.fairness import FairQueue, Ticket
from braid.serve.limits import Limits

READERS = 2
FLOOR = 1
"""Budgets of tokens that may wait in any case, however slow the machine seems."""
SMOOTHING = 0.2


class Busy(Exception):
    """The queue is full; *seconds*: when to come again."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"the queue is full; come again in {seconds} s")


class TooLarge(Exception):
    """A request has more tokens than it may."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__(f"{tokens:,} tokens")


class Late(Exception):
    """The deadline of a request is over."""


class Work(Protocol):
    """What can be asked of a model. *key*: works with equal keys can share a batch."""

    key: object

    def read(self, given: Any) -> tuple[Any, list[int]]:
        """A request checked and tokenised: a job, and the tokens of each of its rows. Raises BraidError."""

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        """Answer rows (job, number) of any jobs in one pass."""

    def tell(self, jobs: Sequence[Any]) -> list[Any]:
        """What is sent back, for jobs of which all rows were answered."""


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
class Observer:
    """Who hears of batches: tokens and rows of each, and seconds that it took."""

    batch: Callable[[int, int, float], None] = lambda tokens, rows, seconds: None
    dropped: Callable[[str], None] = lambda why: None


@dataclass(eq=False)
class _Request:
    work: Work
    job: Any
    stages: Stages
    done: Future[Any] = field(default_factory=Future)
    queued: float = 0.0
    begun: float = 0.0


class Batcher:
    """The queue with its threads. `start` it, `submit` to it, `stop` it."""

    def __init__(self, budget: int, limits: Limits, observer: Observer | None = None) -> None:
        self.limits = limits
        self.observer = observer or Observer()
        self.queue = FairQueue(budget)
        self.inside = 0
        """Requests that were let in and have no answer yet."""
        self.rate = 0.0
        """Tokens a second while there was work, smoothed over the last batches."""
        self._last = 0.0
        self._ready = threading.Condition()
        self._stopping = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="braid-read")
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="braid-tell")
        self._computer = threading.Thread(target=self._run, name="braid-compute", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        self._computer.start()

    def stop(self) -> None:
        """End the threads, after what is queued has been computed."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._computer.is_alive():
            self._computer.join()
        self._readers.shutdown(wait=True)
        self._teller.shutdown(wait=True)

    @property
    def bound(self) -> int:
        """Tokens that may wait."""
        return max(FLOOR * self.queue.budget, int(self.rate * self.limits.queue_seconds))

    @property
    def full(self) -> bool:
        """Whether a request would be turned away."""
        return self.queue.tokens >= self.bound or self.inside >= self.limits.queue_requests

    def busy(self) -> Busy:
        """What a request is told that is turned away."""
        return Busy(max(1, math.ceil(self.queue.tokens / self.rate)) if self.rate else 1)

    async def submit(self, work: Work, given: Any, *, seconds: float | None = None) -> tuple[Any, Stages]:
        """The answer to a request, and where its time went. Cancelled, it leaves the queue.

        Raises Busy, TooLarge, Late, and what `work.read` raises (BraidError)."""
        if self.full:
            raise self.busy()
        deadline = self.limits.deadline if seconds is None else min(seconds, self.limits.deadline)
        self.inside += 1
        try:
            async with asyncio.timeout(deadline):
                return await self._answered(work, given)
        except TimeoutError:
            self.observer.dropped("late")
            raise Late(f"no answer within {deadline:g} s") from None
        except asyncio.CancelledError:
            self.observer.dropped("left")
            raise
        finally:
            self.inside -= 1

    async def _answered(self, work: Work, given: Any) -> tuple[Any, Stages]:
        began = time.perf_counter()
        job, sizes = await asyncio.get_running_loop().run_in_executor(self._readers, work.read, given)
        stages = Stages(read=time.perf_counter() - began, tokens=sum(sizes), rows=len(sizes))
        if stages.tokens > self.limits.max_tokens:
            raise TooLarge(stages.tokens)
        request = _Request(work, job, stages, queued=time.perf_counter())
        if not sizes:
            self._teller.submit(self._tell, [request])
            return await asyncio.wrap_future(request.done), stages
        ticket = Ticket(work.key, sizes, request)
        with self._ready:
            if self.queue.tokens + stages.tokens > max(self.bound, self.limits.max_tokens):
                raise self.busy()
            self.queue.add(ticket)
            self._ready.notify()
        try:
            return await asyncio.wrap_future(request.done), stages
        finally:
            if not request.done.done() or request.done.cancelled():
                with self._ready:
                    self.queue.drop(ticket)

    def _run(self) -> None:
        """The computing thread."""
        while True:
            with self._ready:
                while not (rows := self.queue.take()):
                    if self._stopping:
                        return
                    self._ready.wait()
            self._compute(rows)

    def _compute(self, rows: list[tuple[Ticket, int]]) -> None:
        requests = list(dict.fromkeys(ticket.payload for ticket, _ in rows))
        began = time.perf_counter()
        for request in requests:
            assert isinstance(request, _Request)
            if not request.begun:
                request.begun = began
                request.stages.queue = began - request.queued
        first = requests[0]
        assert isinstance(first, _Request)
        try:
            first.work.compute([(ticket.payload.job, row) for ticket, row in rows])  # type: ignore[attr-defined]
        except BaseException as error:
            self._fail(rows, error)
            return
        ended = time.perf_counter()
        tokens = sum(ticket.sizes[row] for ticket, row in rows)
        # From the end of the last batch, if this one waited by then: what is between batches counts too.
        speed = tokens / max(ended - max(self._last, first.queued), 1e-6)
        self._last = ended
        self.rate = speed if not self.rate else (1 - SMOOTHING) * self.rate + SMOOTHING * speed
        self.observer.batch(tokens, len(rows), ended - began)
        finished = []
        for ticket, _ in rows:
            ticket.left -= 1
            if ticket.left == 0 and not ticket.dropped:
                finished.append(ticket.payload)
                ticket.payload.stages.compute = ended - ticket.payload.begun  # type: ignore[attr-defined]
        if finished:
            self._teller.submit(self._tell, finished)

    def _fail(self, rows: list[tuple[Ticket, int]], error: BaseException) -> None:
        """A batch that failed is tried again request by request, so that one bad request harms no other."""
        tickets = list(dict.fromkeys(ticket for ticket, _ in rows))
        if len(tickets) > 1:
            for ticket in tickets:
                self._compute([entry for entry in rows if entry[0] is ticket])
            return
        with self._ready:
            self.queue.drop(tickets[0])
        _settle(tickets[0].payload.done, error=error)  # type: ignore[attr-defined]

    def _tell(self, requests: list[Any]) -> None:
        """The telling thread."""
        began = time.perf_counter()
        try:
            answers: list[Any] = requests[0].work.tell([request.job for request in requests])
        except BaseException as error:
            if len(requests) > 1:
                for request in requests:
                    self._tell([request])
            else:
                _settle(requests[0].done, error=error)
            return
        seconds = time.perf_counter() - began
        for request, answer in zip(requests, answers, strict=True):
            request.stages.tell = seconds
            _settle(request.done, answer)


def _settle(done: Future[Any], answer: Any = None, *, error: BaseException | None = None) -> None:
    """Give a future its result, unless who waited for it has left."""
    if done.set_running_or_notify_cancel():
        if error is None:
            done.set_result(answer)
        else:
            done.set_exception(error)
