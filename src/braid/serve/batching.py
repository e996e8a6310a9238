"""Requests become batches. Three kinds of threads share the work, so that the event loop only ever waits: two read
(check and tokenise; one of them only large bodies), some compute batch after batch, one tells (decodes, writes JSON).

Nothing waits for a batch to fill: while one is computed, the next one gathers.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from braid.serve.answer import Busy, Observer, Stages
from braid.serve.fairness import FairQueue, Ticket
from braid.serve.limits import Limits

LARGE = 65_536
"""Bytes of a body from which on it is read by the other thread, so that no small one waits behind it."""
SLICE = 4
"""Requests that are told before others may go on: who waits for the interpreter is the event loop."""
PAUSE = 1e-5
"""Seconds between two such slices: without any, who gives the interpreter away has it back before others wake up."""
SMOOTHING = 0.2
DENSITY = 0.3
"""Tokens a byte before any request was read."""


class TooLarge(Exception):
    """A request has more tokens than it may."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__(f"{tokens:,} tokens")


class Late(Exception):
    """The deadline of a request is over."""


class Work(Protocol):
    """What can be asked of a model. *key*: works with equal keys can share a batch."""

    @property
    def key(self) -> object: ...

    def read(self, given: Any) -> tuple[Any, list[int]]:
        """A request checked and tokenised: a job, and the tokens of each of its rows. Raises BraidError."""

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        """Answer rows (job, number) of any jobs in one pass."""

    def tell(self, jobs: Sequence[Any]) -> list[Any]:
        """What is sent back, for jobs of which all rows were answered."""


@dataclass(eq=False)
class _Request:
    work: Work
    job: Any
    stages: Stages
    done: Future[Any] = field(default_factory=Future)
    queued: float = 0.0
    begun: float = 0.0


class Batcher:
    """The queue with its threads. `start` it, `submit` to it, `stop` it. *lanes*: batches that are computed side by
    side."""

    def __init__(self, budget: int, limits: Limits, observer: Observer | None = None, *, lanes: int = 1) -> None:
        self.limits = limits
        self.observer = observer or Observer()
        self.queue = FairQueue(budget)
        self.inside = 0
        """Requests that were let in and have no answer yet."""
        self._worked = 0.0, 0.0
        """Tokens, and seconds while there was work, smoothed over the last batches. Not their ratio: where two batches
        end side by side, the time between them says nothing."""
        self.reading = 0
        """Bytes of requests that were let in and are not read yet."""
        self.density = DENSITY
        """Tokens a byte of what was read, smoothed likewise."""
        self._last = 0.0
        self._ready = threading.Condition()
        self._stopping = False
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="braid-read")
        self._large_reader = ThreadPoolExecutor(1, thread_name_prefix="braid-read-large")
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="braid-tell")
        self._computers = [
            threading.Thread(target=self._run, name=f"braid-compute_{lane}", daemon=True) for lane in range(lanes)
        ]

    def start(self) -> None:
        """Begin to compute."""
        for computer in self._computers:
            computer.start()

    def stop(self) -> None:
        """End the threads, after what is queued has been computed."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        for computer in self._computers:
            if computer.is_alive():
                computer.join()
        self._reader.shutdown(wait=True)
        self._large_reader.shutdown(wait=True)
        self._teller.shutdown(wait=True)

    @property
    def rate(self) -> float:
        """Tokens a second while there was work."""
        tokens, seconds = self._worked
        return tokens / seconds if seconds else 0.0

    @property
    def bound(self) -> int:
        """Tokens that may wait; before the first batch says how fast it goes, as many as one request may have."""
        if not self.rate:
            return max(self.queue.budget, self.limits.max_tokens)
        return max(self.queue.budget, int(self.rate * self.limits.queue_seconds))

    @property
    def waiting(self) -> int:
        """Tokens that wait, those of requests that are not read yet estimated: who is to be turned away must not be
        read first."""
        return self.queue.tokens + int(self.reading * self.density)

    @property
    def full(self) -> bool:
        """Whether a request would be turned away."""
        return self.waiting >= self.bound or self.inside >= self.limits.queue_requests

    def busy(self) -> Busy:
        """What a request is told that is turned away."""
        return Busy(max(1, math.ceil(self.waiting / self.rate)) if self.rate else 1)

    async def submit(
        self, work: Work, given: Any, *, size: int = 0, seconds: float | None = None
    ) -> tuple[Any, Stages]:
        """The answer to a request of *size* bytes, and where its time went. Cancelled, it leaves the queue.

        Whoever asks has seen that the queue is not `full`. Raises TooLarge, Late, what `work.read` raises (BraidError),
        and Busy where all the same far too much waits."""
        deadline = self.limits.deadline if seconds is None else min(seconds, self.limits.deadline)
        self.inside += 1
        try:
            async with asyncio.timeout(deadline):
                return await self._answered(work, given, size)
        except TimeoutError:
            self.observer.dropped("late")
            raise Late(f"no answer within {deadline:g} s") from None
        except asyncio.CancelledError:
            self.observer.dropped("left")
            raise
        finally:
            self.inside -= 1

    async def _answered(self, work: Work, given: Any, size: int) -> tuple[Any, Stages]:
        began = time.perf_counter()
        self.reading += size
        reader = self._reader if size < LARGE else self._large_reader
        try:
            job, sizes = await asyncio.get_running_loop().run_in_executor(reader, work.read, given)
        finally:
            self.reading -= size
        if size:
            self.density += SMOOTHING * (sum(sizes) / size - self.density)
        stages = Stages(read=time.perf_counter() - began, tokens=sum(sizes), rows=len(sizes))
        if stages.tokens > self.limits.max_tokens:
            raise TooLarge(stages.tokens)
        request = _Request(work, job, stages, queued=time.perf_counter())
        if not sizes:
            self._teller.submit(self._tell, [request])
            return await asyncio.wrap_future(request.done), stages
        ticket = Ticket(work.key, sizes, request)
        with self._ready:
            if self.queue.tokens + stages.tokens > 2 * max(self.bound, self.limits.max_tokens):
                raise self.busy()  # what was let in was estimated wrongly by far
            self.queue.add(ticket)
            self._ready.notify()
        try:
            return await asyncio.wrap_future(request.done), stages
        finally:
            if not request.done.done() or request.done.cancelled():
                with self._ready:
                    self.queue.drop(ticket)

    def _run(self) -> None:
        """A computing thread."""
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
        finished = []
        with self._ready:
            seconds = max(ended - max(self._last, first.queued), 1e-6)
            self._last = ended
            share = SMOOTHING if self.rate else 1.0
            before, spent = self._worked
            self._worked = before + share * (tokens - before), spent + share * (seconds - spent)
            for ticket, _ in rows:
                ticket.left -= 1
                if ticket.left == 0 and not ticket.dropped:
                    finished.append(ticket.payload)
                    ticket.payload.stages.compute = ended - ticket.payload.begun  # type: ignore[attr-defined]
        self.observer.batch(tokens, len(rows), ended - began)
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
        for first in range(0, len(requests), SLICE):
            self._tell_slice(requests[first : first + SLICE])
            time.sleep(PAUSE)

    def _tell_slice(self, requests: list[Any]) -> None:
        began = time.perf_counter()
        try:
            answers: list[Any] = requests[0].work.tell([request.job for request in requests])
        except BaseException as error:
            if len(requests) > 1:
                for request in requests:
                    self._tell_slice([request])
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
