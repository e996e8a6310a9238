"""The queue with its threads, without HTTP and without a model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from braid.errors import BraidError
from braid.serve.batching import Batcher, Busy, Late, TooLarge
from braid.serve.limits import Limits


class Echo:
    """A work whose rows are numbers of tokens. *held*: computing waits until it is let go."""

    key = "echo"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.held = threading.Event()
        self.held.set()
        self.begun = threading.Event()

    def read(self, given: list[int]) -> tuple[dict[int, int], list[int]]:
        if -1 in given:
            raise BraidError("a row of -1")
        return {"sizes": given, "done": {}}, given  # type: ignore[dict-item]

    def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
        self.begun.set()
        assert self.held.wait(10)
        if any(job["sizes"][row] == 13 for job, row in rows):
            raise RuntimeError("thirteen")
        self.batches.append([job["sizes"][row] for job, row in rows])
        for job, row in rows:
            job["done"][row] = 2 * job["sizes"][row]

    def tell(self, jobs: Sequence[Any]) -> list[Any]:
        return [[job["done"][row] for row in range(len(job["sizes"]))] for job in jobs]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(10, Limits(max_tokens=100, queue_requests=8))
    made.start()
    yield made
    made.stop()


def test_every_request_gets_its_own_answer_whatever_batches_it_was_in(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> list[Any]:
        given = [[3, 4, 5], [1], [9, 9], [2, 2, 2, 2]]
        found = await asyncio.gather(*(batcher.submit(work, sizes) for sizes in given))
        return [(answer, stages.tokens) for answer, stages in found]

    assert asyncio.run(main()) == [([6, 8, 10], 12), ([2], 1), ([18, 18], 18), ([4, 4, 4, 4], 8)]
    assert all(len(batch) == 1 or sum(batch) <= 10 for batch in work.batches)


def test_what_waits_while_a_batch_is_computed_shares_the_next_one(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> None:
        work.held.clear()
        tasks = [asyncio.ensure_future(batcher.submit(work, [1]))]
        await asyncio.to_thread(work.begun.wait, 5)
        tasks += [asyncio.ensure_future(batcher.submit(work, [2])) for _ in range(5)]
        while batcher.queue.tokens < 10:
            await asyncio.sleep(0.001)
        work.held.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert work.batches == [[1], [2, 2, 2, 2, 2]]


def test_a_request_without_rows_is_answered(batcher: Batcher) -> None:
    assert asyncio.run(batcher.submit(Echo(), []))[0] == []


def test_a_full_queue_says_so_and_when_to_come_again(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> None:
        work.held.clear()
        tasks = [asyncio.ensure_future(batcher.submit(work, [10])) for _ in range(8)]
        await asyncio.sleep(0)
        assert batcher.full
        assert batcher.busy().seconds >= 1
        work.held.set()
        await asyncio.gather(*tasks)
        assert not batcher.full
        assert (await batcher.submit(work, [1]))[0] == [2]

    asyncio.run(main())


def test_who_comes_in_all_the_same_is_turned_away_where_far_too_much_waits(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> None:
        work.held.clear()
        tasks = [asyncio.ensure_future(batcher.submit(work, [100]))]
        assert await asyncio.to_thread(work.begun.wait, 5)
        tasks += [asyncio.ensure_future(batcher.submit(work, [100])) for _ in range(2)]
        async with asyncio.timeout(5):
            while batcher.queue.tokens < 200:
                await asyncio.sleep(0.001)
        with pytest.raises(Busy):
            await batcher.submit(work, [1])
        work.held.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_too_many_tokens_and_wrong_rows_are_refused(batcher: Batcher) -> None:
    with pytest.raises(TooLarge, match="101"):
        asyncio.run(batcher.submit(Echo(), [100, 1]))
    with pytest.raises(BraidError, match="-1"):
        asyncio.run(batcher.submit(Echo(), [1, -1]))
    assert batcher.inside == 0


def test_who_leaves_is_no_longer_in_the_queue(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> None:
        work.held.clear()
        first = asyncio.ensure_future(batcher.submit(work, [1]))
        await asyncio.to_thread(work.begun.wait, 5)
        left = asyncio.ensure_future(batcher.submit(work, [7]))
        while not batcher.queue.tokens:
            await asyncio.sleep(0.001)
        left.cancel()
        await asyncio.wait([left])
        assert batcher.queue.tokens == 0
        work.held.set()
        await first

    asyncio.run(main())
    assert work.batches == [[1]]
    assert batcher.inside == 0


def test_a_deadline_ends_the_wait(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> None:
        work.held.clear()
        with pytest.raises(Late):
            await batcher.submit(work, [1], seconds=0.05)
        work.held.set()
        assert (await batcher.submit(work, [3]))[0] == [6]

    asyncio.run(main())


def test_a_request_that_makes_its_batch_fail_harms_no_other(batcher: Batcher) -> None:
    work = Echo()

    async def main() -> list[Any]:
        work.held.clear()
        tasks = [asyncio.ensure_future(batcher.submit(work, [1]))]
        await asyncio.to_thread(work.begun.wait, 5)
        tasks += [asyncio.ensure_future(batcher.submit(work, [size])) for size in (2, 13, 3)]
        while batcher.queue.tokens < 18:
            await asyncio.sleep(0.001)
        work.held.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(main())
    assert [isinstance(one, RuntimeError) for one in found] == [False, False, True, False]
    assert found[3][0] == [6]
    assert batcher.queue.tokens == 0


def test_before_the_first_batch_as_much_may_wait_as_one_request_may_have() -> None:
    assert Batcher(10, Limits(max_tokens=500)).bound == 500
    assert Batcher(1000, Limits(max_tokens=500)).bound == 1000


def test_a_request_that_is_not_read_yet_is_counted_by_its_bytes() -> None:
    batcher, work = Batcher(10, Limits(queue_requests=8, max_tokens=20)), Echo()
    reading = threading.Event()

    class Slow(Echo):
        def read(self, given: list[int]) -> Any:
            assert reading.wait(10)
            return super().read(given)

    async def main() -> None:
        first = asyncio.ensure_future(batcher.submit(Slow(), [9], size=100))
        await asyncio.sleep(0)
        assert batcher.waiting >= 10
        assert batcher.full
        reading.set()
        await first
        assert batcher.waiting == 0
        assert not batcher.full
        assert (await batcher.submit(work, [1], size=10))[0] == [2]

    batcher.start()
    asyncio.run(main())
    batcher.stop()


def test_a_small_request_is_read_while_a_large_one_is() -> None:
    batcher, reading = Batcher(10, Limits()), threading.Event()

    class Slow(Echo):
        def read(self, given: list[int]) -> Any:
            assert reading.wait(10)
            return super().read(given)

    async def main() -> None:
        batcher._density = 0.0  # so that nobody is turned away
        large = asyncio.ensure_future(batcher.submit(Slow(), [1], size=1_000_000))
        await asyncio.sleep(0)
        assert (await batcher.submit(Echo(), [2], size=10))[0] == [4]
        reading.set()
        await large

    batcher.start()
    asyncio.run(main())
    batcher.stop()


def test_batches_are_computed_side_by_side_in_lanes() -> None:
    together = threading.Barrier(2)

    class Both(Echo):
        def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
            together.wait(10)  # breaks where the two batches come one after the other
            super().compute(rows)

    async def main() -> list[Any]:
        work = Both()
        return await asyncio.gather(*(batcher.submit(work, [6]) for _ in range(2)))

    batcher = Batcher(10, Limits(), lanes=2)
    batcher.start()
    assert [answer for answer, _ in asyncio.run(main())] == [[12], [12]]
    batcher.stop()


def test_speed_is_not_what_lies_between_two_batches_that_end_side_by_side() -> None:
    batcher = Batcher(10, Limits(), lanes=2)

    class Timed(Echo):
        def compute(self, rows: Sequence[tuple[Any, int]]) -> None:
            threading.Event().wait(0.05)
            super().compute(rows)

    async def main() -> None:
        work = Timed()
        await asyncio.gather(*(batcher.submit(work, [10]) for _ in range(20)))

    batcher.start()
    asyncio.run(main())
    batcher.stop()
    assert batcher.rate < 2 * 10 / 0.05 * 1.5
