"""A server of tiny models, without a socket, and one in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import braid
from braid.serve.answering import LocalEngine
from braid.serve.app import create
from braid.serve.batching import Batcher
from braid.serve.limits import ServeOptions
from braid.serve.metrics import Metrics
from braid.serve.models import Models, Served

MOODS = {"pos": "good", "neg": "bad"}


def rows(n: int) -> list[dict[str, Any]]:
    """Reviews with a mood, a place and a grade of relevance."""
    out = []
    for k in range(n):
        mood, place = ("pos", "neg")[k % 2], ("Paris", "Rome", "北京")[k % 3]
        text = f"visit {k} to {place} was {MOODS[mood]}"
        at = text.index(place)
        span = {"start": at, "end": at + len(place), "label": "PLACE"}
        out.append({"text": text, "mood": mood, "places": [span], "rank": k % 2, "pair": f"it was {k}"})
    return out


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four tasks, hardly trained."""
    folder = tmp_path_factory.mktemp("serve")
    plain = [{key: row[key] for key in ("text", "mood", "places")} for row in rows(24)]
    (folder / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    pairs = [{"text": f"query {k // 4}", "pair": row["pair"], "rank": row["rank"]} for k, row in enumerate(rows(24))]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    recipe = braid.Recipe(
        name="tiny",
        encoder={"hidden_size": 32, "layers": 1, "heads": 2, "max_length": 32, "vocab_size": 200},
        tasks={
            "mood": {"type": "classification", "data": {"train": str(folder / "plain.jsonl")}},
            "places": {"type": "tagging", "data": {"train": str(folder / "plain.jsonl")}},
            "rank": {"type": "ranking", "data": {"train": str(folder / "pairs.jsonl")}},
        },
        chain="mood & places | rank",
        train={"max_steps": 3, "epochs": 1, "precision": "fp32"},
        out=str(folder / "run"),
        cache=str(folder / "cache"),
    )
    return braid.train(recipe, say=lambda message: None).directory


@pytest.fixture(scope="session")
def model(run: Path) -> Any:
    """The same, here."""
    return braid.load(run)


@contextmanager
def app_of(run: Path, **options: Any) -> Iterator[tuple[Any, Models, Batcher]]:
    """The application around that run."""
    given = ServeOptions.model_validate({"runs": {"tiny": run}, "log": "off", **options})
    models = Models(given.runs, lambda name, path: Served.of(name, path, braid.load(path)))
    models.load()
    batcher = Batcher(given.batch_tokens or 256, given.limits)
    batcher.start()
    try:
        yield create(given, LocalEngine(given, models, batcher), Metrics()), models, batcher
    finally:
        batcher.stop()


@pytest.fixture(scope="session")
def served(run: Path) -> Iterator[tuple[Any, Models, Batcher]]:
    """The application with usual options."""
    with app_of(run) as found:
        yield found


def http(app: Any) -> httpx.AsyncClient:
    """A client without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture(scope="session")
def started(run: Path) -> Callable[..., Any]:
    """`braid serve` in a process, as a context: its address and itself; `said()` is what it printed."""

    @contextmanager
    def start(*options: str, runs: tuple[str, ...] = ()) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        given = [*(runs or (f"tiny={run}",)), "--port", "0", "--threads", "1", *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "braid", "serve", *given],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        lines: list[str] = []
        found = threading.Event()

        def listen() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if "serving at" in line:
                    found.set()
            found.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        process.said = lambda: "".join(lines)  # type: ignore[attr-defined]
        try:
            assert found.wait(120)
            address = re.search(r"serving at (\S+)", "".join(lines))
            assert address, "".join(lines)
            yield address[1], process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)
            thread.join(5)

    return start
