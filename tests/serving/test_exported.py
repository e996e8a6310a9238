"""An exported graph behind the server, in the place of the run that it was made from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from braid.export.exporting import export
from serving.conftest import app_of
from serving.test_app import TEXTS, call, post

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RANKED = [{"text": "query 1", "pair": f"it was {k}", "query": "q"} for k in range(3)]


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "graph"
    export(run, out=folder)
    return folder


@pytest.fixture(scope="module")
def graph(exported: Path) -> Iterator[Any]:
    with app_of(exported) as (app, *_):
        yield app


def same(found: Any, expected: Any) -> None:
    """JSON that is equal but for the last digits of its numbers."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "content",
    [{"texts": TEXTS}, {"texts": TEXTS, "tasks": ["places"]}, {"inputs": RANKED}, {"words": ["to", "Rome"]}],
)
def test_its_answers_are_those_of_the_run(graph: Any, served: Any, content: Any) -> None:
    same(post(graph, content).json()["results"], post(served[0], content).json()["results"])


def test_its_vectors_are_those_of_the_run(graph: Any, served: Any) -> None:
    ours, theirs = (post(app, {"texts": TEXTS}, "/embed").json()["embeddings"] for app in (served[0], graph))
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_it_says_the_same_of_itself_and_of_wrong_requests(graph: Any, served: Any) -> None:
    assert call(graph, "GET", "/tasks").json() == call(served[0], "GET", "/tasks").json()
    for wrong in ({"text": "a", "tasks": ["moods"]}, {"text": "a", "tasks": ["rank"]}):
        ours, theirs = post(served[0], wrong), post(graph, wrong)
        assert (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())
        assert theirs.status_code == 422


def test_the_command_serves_it(started: Any, exported: Path, model: Any) -> None:
    with started(runs=(f"tiny={exported}",)) as (url, process):
        found = httpx.post(f"{url}/predict", json={"texts": TEXTS}, timeout=60).json()["results"]
    same(found, json.loads(json.dumps([result.to_json() for result in model(TEXTS)])))
    assert process.returncode == 0


def test_a_torch_program_is_served_to_who_trusts_it(started: Any, run: Path, model: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    export(run, to="torch", out=program)
    command = [sys.executable, "-m", "braid", "serve", str(program), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--trust" in done.stderr
    with started("--trust", runs=(f"tiny={program}",)) as (url, _):
        found = httpx.post(f"{url}/predict", json={"texts": TEXTS[:3]}, timeout=60).json()["results"]
    same(found, json.loads(json.dumps([result.to_json() for result in model(TEXTS[:3])])))
    (tmp_path / "texts.txt").write_text("visit to Paris\n", encoding="utf-8")
    out = tmp_path / "vectors.npy"
    embed = [sys.executable, "-m", "braid", "embed", str(program), str(tmp_path / "texts.txt"), "-o", str(out)]
    assert subprocess.run(embed, capture_output=True, timeout=120, check=False).returncode == 2
    subprocess.run([*embed, "--trust"], capture_output=True, timeout=120, check=True)
    np.testing.assert_allclose(np.load(out), model.embed(["visit to Paris"]), atol=1e-4)
