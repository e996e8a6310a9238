"""What an engine's process says and does, as the front hears it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from braid.serve.answering import LocalEngine
from braid.serve.batching import Batcher
from braid.serve.limits import Limits, ServeOptions
from braid.serve.models import Models
from braid.serve.process import Hearing, Process, State
from braid.serve.wire import Frames, frame

ASK = {"kind": "ask", "number": 0, "path": "/predict", "seconds": None}
LEAVE = {"kind": "leave", "number": 0}
BODY = b'{"text": "visit 3 to Rome was good"}'


def said_to(heard: list[tuple[dict[str, Any], bytes]], served: Any) -> list[dict[str, Any]]:
    """What an engine says that hears this, all at once."""
    models: Models = served[1]
    batcher = Batcher(256, Limits())
    batcher.start()
    said = bytearray()

    async def main() -> None:
        hearing: Hearing = Future()
        engine = LocalEngine(ServeOptions(runs={"tiny": Path()}), models, batcher)
        serving = asyncio.ensure_future(Process(engine, said.extend).serve(hearing))
        await asyncio.sleep(0)
        for one in (*heard, None):
            hearing.result()(one)
        await serving

    try:
        asyncio.run(asyncio.wait_for(main(), 30))
    finally:
        batcher.stop()
    return [head for head, _ in Frames().feed(bytes(said))]


def test_it_is_ready_then_answers(served: Any) -> None:
    said = said_to([(ASK, BODY)], served)
    kinds = [head["kind"] for head in said]
    assert kinds[:2] == ["state", "ready"]
    assert [head["answer"]["status"] for head in said if head["kind"] == "answer"] == [200]
    assert sum(len(head["batches"]) for head in said if head["kind"] == "state") == 1


@pytest.mark.parametrize("body", [BODY, b"no JSON", b'{"text": "a", "tasks": ["no such"]}'])
@pytest.mark.parametrize("left", [False, True])
def test_every_byte_is_read_in_the_end_whatever_became_of_it(served: Any, body: bytes, left: bool) -> None:
    """Else the front would think for ever that it waits; one that left at once is forgotten before it has begun."""
    said = said_to([(ASK, body), *([(LEAVE, b"")] if left else [])], served)
    assert said.pop()["kind"] == "state"  # as it ends
    last = State(*next(head["state"] for head in reversed(said) if head["kind"] == "state"))
    assert (last.read, last.tokens) == (len(body), 0)
    assert said[-1]["kind"] == ("state" if left else "answer")


def test_it_ends_with_its_input_though_models_are_being_loaded() -> None:
    code = """
    import sys, time
    from braid.serve.process import run

    def load(path, **how):
        print("loading", file=sys.stderr, flush=True)
        time.sleep(60)

    run(load)
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=pipe, stdout=pipe, stderr=pipe
    ) as engine:
        assert engine.stdin
        assert engine.stderr
        engine.stdin.write(frame({"options": {"runs": {"tiny": "."}}}))
        engine.stdin.flush()
        assert engine.stderr.readline() == b"loading\n"
        engine.stdin.close()
        assert engine.wait(10) == 1
        assert engine.stderr.read() == b""
