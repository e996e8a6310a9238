"""Engines in processes of their own, as the front asks them: processes without models stand in for them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from braid.errors import BraidError
from braid.serve.fleet import Fleet
from braid.serve.limits import ServeOptions

TESTS = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid.serve.link.ENGINE", "serving.fake_engine")
    paths = [
        str(TESTS),
        *(os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path),
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def with_fleet(check: Callable[[Fleet], Awaitable[None]], runs: str = "a", folder: Path = Path(), **more: Any) -> None:
    """Run a check on engines, which end afterwards."""
    options = ServeOptions.model_validate({"runs": {runs: folder}, **more})

    async def main() -> None:
        fleet = Fleet(options)
        assert await fleet.start()
        try:
            await check(fleet)
        finally:
            await fleet.stop()
        assert all(link.process.returncode is not None for link in fleet.links)

    run(main())


def run(main: Coroutine[Any, Any, None]) -> None:
    """On the event loop that uvicorn takes."""
    if sys.platform == "win32":
        asyncio.run(asyncio.wait_for(main, 60))
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(main, 60))


async def until(found: Callable[[], bool]) -> None:
    while not found():
        await asyncio.sleep(0.01)


def test_an_answer_comes_back_as_the_engine_gave_it() -> None:
    async def check(fleet: Fleet) -> None:
        assert fleet.ready
        assert fleet.facts == {"models": {"a": {}}}
        found = await fleet.answer("/predict", b"hello")
        assert (found.status, found.body, found.headers, found.said) == (200, b"hello", {"a": "b"}, {"rows": 1})
        assert (await fleet.answer("/predict", b"several")).body == b"whole"
        many = [b"%d" % k for k in range(200)]
        assert [one.body for one in await asyncio.gather(*(fleet.answer("/predict", one) for one in many))] == many
        large = b"x" * 900_000
        assert (await fleet.answer("/predict", large)).body == large
        assert fleet.inside == 0

    with_fleet(check)


def test_what_was_sent_and_is_not_read_yet_is_counted_by_its_bytes() -> None:
    async def check(fleet: Fleet) -> None:
        waits = asyncio.ensure_future(fleet.answer("/predict", b"queue"))
        await until(lambda: fleet.links[0].read == 5)
        assert fleet.waiting == 2000
        assert fleet.full
        assert fleet.busy().seconds == 20
        more = [asyncio.ensure_future(fleet.answer("/predict", b"wait")) for _ in range(10)]
        await asyncio.sleep(0)
        await until(lambda: fleet.inside == 11)
        assert fleet.waiting == 2000 + 40 // 2
        for task in (waits, *more):
            task.cancel()

    with_fleet(check)


def test_the_engine_with_least_to_do_is_asked_and_only_when_all_are_full_is_the_fleet() -> None:
    async def check(fleet: Fleet) -> None:
        tasks = [asyncio.ensure_future(fleet.answer("/predict", b"queue"))]
        await until(lambda: fleet.waiting == 2000)
        assert not fleet.full
        assert (await fleet.answer("/predict", b"hello")).body == b"hello"
        tasks.append(asyncio.ensure_future(fleet.answer("/predict", b"queue")))
        await until(lambda: fleet.waiting == 4000)
        assert fleet.full
        assert [link.tokens for link in fleet.links] == [2000, 2000]
        for task in tasks:
            task.cancel()

    with_fleet(check, workers=2)


def test_so_many_requests_may_be_inside() -> None:
    async def check(fleet: Fleet) -> None:
        tasks = [asyncio.ensure_future(fleet.answer("/predict", b"wait")) for _ in range(3)]
        await until(lambda: fleet.inside == 3)
        assert fleet.full
        for task in tasks:
            task.cancel()
        await until(lambda: fleet.inside == 0)
        assert not fleet.full

    with_fleet(check, limits={"queue_requests": 3})


def test_an_engine_is_told_of_clients_that_left_and_tells_of_batches() -> None:
    async def check(fleet: Fleet) -> None:
        dropped: list[str] = []
        batches: list[tuple[int, int, float]] = []
        fleet.observer.dropped = dropped.append
        fleet.observer.batch = lambda *found: batches.append(found)
        task = asyncio.ensure_future(fleet.answer("/predict", b"wait"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert (await fleet.answer("/predict", b"who left")).body == b"[0]"
        assert dropped == ["left"]
        await fleet.answer("/predict", b"batch")
        assert batches == [(10, 2, 0.5)]

    with_fleet(check)


def test_an_engine_that_ends_is_replaced_and_its_requests_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    async def check(fleet: Fleet) -> None:
        waits = asyncio.ensure_future(fleet.answer("/predict", b"wait"))
        await asyncio.sleep(0)
        first = fleet.links[0].process.pid
        for found in (await fleet.answer("/predict", b"die"), await waits):
            assert (found.status, found.headers["retry-after"]) == (503, "1")
            assert b"engine" in found.body
        assert (await fleet.answer("/predict", b"hello")).status == 503
        await until(lambda: fleet.ready)
        assert fleet.links[0].process.pid != first
        assert (await fleet.answer("/predict", b"hello")).body == b"hello"

    with_fleet(check)
    assert "an engine ended with 3; another begins" in capfd.readouterr().err


def test_engines_that_die_while_much_is_sent_leave_no_request_without_an_answer() -> None:
    async def check(fleet: Fleet) -> None:
        statuses: Counter[int] = Counter()

        async def client() -> None:
            while not ended.is_set():
                statuses[(await fleet.answer("/predict", b"x" * 100_000)).status] += 1
                await asyncio.sleep(0)

        ended = asyncio.Event()
        clients = [asyncio.ensure_future(client()) for _ in range(20)]
        for _ in range(3):
            before = statuses[200]
            await until(lambda: fleet.ready and statuses[200] > before + 20)  # noqa: B023
            link = fleet.links[0]
            os.kill(link.process.pid, signal.SIGKILL)
            await link.ended
        await until(lambda: fleet.ready)
        ended.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200, 503}
        assert fleet.inside == 0

    with_fleet(check)


def test_an_engine_that_is_stuck_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid.serve.fleet.MARGIN", 0.05)

    async def check(fleet: Fleet) -> None:
        found = await fleet.answer("/predict", b"wait", 0.05)
        assert found.status == 504
        assert (await fleet.answer("/predict", b"who left")).body == b"[0]"

    with_fleet(check)


def test_models_are_loaded_anew_or_stay() -> None:
    async def check(fleet: Fleet) -> None:
        version = fleet.version
        with pytest.raises(BraidError, match="no such run"):
            await fleet.reload("bad")
        assert fleet.facts == {"models": {"a": {}}}
        assert await fleet.reload() == ["a"]
        assert fleet.facts == {"models": {"b": {}}}
        assert fleet.version > version

    with_fleet(check, workers=2)


def test_an_engine_that_was_beginning_when_models_were_to_be_loaded_anew_has_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("old")

    async def check(fleet: Fleet) -> None:
        before = fleet.version
        (tmp_path / "wait").touch()
        os.kill(fleet.links[0].process.pid, signal.SIGKILL)
        await fleet.links[0].ended
        await asyncio.sleep(0.5)  # it has found the old one by now
        (tmp_path / "model").write_text("new")
        assert await fleet.reload() == ["a"]
        (tmp_path / "wait").unlink()
        await until(lambda: fleet.version > before)
        assert fleet.facts == {"models": {"a": {"found": "new"}}}

    with_fleet(check, folder=tmp_path)


@pytest.mark.parametrize(("runs", "message"), [("broken", "it is broken"), ("silent", "exit code 7")])
def test_what_cannot_be_loaded_is_said(runs: str, message: str) -> None:
    options = ServeOptions.model_validate({"runs": {runs: "."}, "workers": 2})
    with pytest.raises(BraidError, match=message):
        asyncio.run(Fleet(options).start())


def test_a_process_that_cannot_be_made_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def check(fleet: Fleet) -> None:
        with monkeypatch.context() as without:
            without.setattr(sys, "executable", "/no/such/python")
            with pytest.raises(BraidError, match="an engine could not start"):
                await Fleet(fleet.options).start()
            os.kill(fleet.links[0].process.pid, signal.SIGKILL)
            before = fleet.links[0]
            await until(lambda: fleet.links[0] is not before)
            await asyncio.sleep(0.1)
        await until(lambda: fleet.ready)

    with_fleet(check)
    assert "again in 1 s" in capfd.readouterr().err


def test_who_is_told_to_end_while_models_are_loaded_ends() -> None:
    async def main() -> None:
        fleet = Fleet(ServeOptions.model_validate({"runs": {"slow": "."}}))
        asked = iter([False, False, False, True])
        assert not await fleet.start(lambda: next(asked))
        assert fleet.links[0].process.returncode is not None

    asyncio.run(asyncio.wait_for(main(), 30))


def test_who_was_told_to_end_before_models_are_loaded_waits_for_none() -> None:
    async def main() -> None:
        fleet = Fleet(ServeOptions.model_validate({"runs": {"slow": "."}, "workers": 2}))
        assert not await asyncio.wait_for(fleet.start(lambda: True), 5)

    run(main())


def test_engines_are_out_of_reach_of_a_terminal_and_of_modules_that_lie_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('not the one of Python')")
    monkeypatch.chdir(tmp_path)

    async def check(fleet: Fleet) -> None:
        assert (await fleet.answer("/predict", b"hello")).body == b"hello"
        if sys.platform != "win32":
            engine = fleet.links[0].process.pid
            assert os.getpgid(engine) != os.getpgid(0)  # a Ctrl-C is for a group
            assert os.getsid(engine) == os.getsid(0)  # in which its niceness counts

    with_fleet(check)


def test_engines_are_not_told_the_key() -> None:
    async def check(fleet: Fleet) -> None:
        told = (await fleet.answer("/predict", b"options")).body
        assert b"secret" not in told
        assert b"api_key" not in told
        assert b'"threads": 3' in told

    with_fleet(check, api_key="secret", threads=3)
