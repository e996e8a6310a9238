"""One chain of every task type in the registry: trained, evaluated, saved, loaded, predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.config.families import TaskConfig
from braid.data.example import Example
from braid.errors import BraidError
from braid.predict.model import Model
from braid.tasks.base import LabelledTask

SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "max_length": 48}
TYPES = {name: kind for name, kind in TaskConfig.variants().items() if issubclass(kind, LabelledTask)}
TEXT = ("mlm", "nsp", "sop")
"""The types that make their own targets, as far as an encoder that sees both sides can learn them."""


def specimens(kind: str) -> list[dict[str, Any]]:
    return TYPES[kind].specimens(16)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> braid.Recipe:
    folder = tmp_path_factory.mktemp("all")
    tasks: dict[str, Any] = {}
    for kind in TYPES:
        path = folder / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in specimens(kind)), encoding="utf-8")
        tasks[f"a_{kind}"] = {"type": kind, "data": dict.fromkeys(("train", "dev", "test"), str(path))}
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(f"Anna saw {k} cups. Bo saw {k + 1}. Carl saw none.\n" for k in range(12)))
    text = {f"a_{kind}": {"type": kind} for kind in TEXT}
    for kind in ("mlm", "sop"):
        text[f"a_{kind}"]["data"] = dict.fromkeys(("train", "dev", "test"), str(corpus))  # type: ignore[assignment]
    return braid.Recipe(
        name="all",
        out=str(folder / "run"),
        cache=str(folder / "cache"),
        encoder=SIZES,
        tasks={**tasks, **text},
        chain=" | ".join([*tasks, "a_mlm & a_nsp", "a_sop"]),
        train={"epochs": 2, "lr": 1e-3, "batch_tokens": 512, "accumulate": 2, "precision": "fp32"},
    )


@pytest.fixture(scope="module")
def run(recipe: braid.Recipe) -> braid.Run:
    return braid.train(recipe, say=lambda message: None)


@pytest.fixture(scope="module")
def model(run: braid.Run) -> Model:
    return braid.load(run.directory)


def test_check_finds_nothing_that_stops_training(recipe: braid.Recipe) -> None:
    report = braid.check(recipe)
    assert report.ok, report.errors
    assert set(report.labels) == {f"a_{kind}" for kind in TYPES}
    assert set(report.lengths) == {*(f"a_{kind}" for kind in TYPES), "a_mlm & a_nsp", "a_sop"}


def test_every_task_has_figures_of_dev_and_test(run: braid.Run, model: Model) -> None:
    assert set(run.scores("dev")) == set(run.scores("test")) == {f"a_{kind}" for kind in (*TYPES, *TEXT)}
    again = model.evaluate("test")
    for task, scores in run.scores("test").items():
        assert again[task] == pytest.approx(scores, abs=1e-4), task
        assert next(iter(scores)) == run.main[task]


@pytest.mark.parametrize("kind", list(TYPES))
def test_each_type_predicts_its_own_rows(kind: str, model: Model) -> None:
    rows = [{key: value for key, value in row.items() if key != "label"} for row in specimens(kind)]
    results = model(rows, tasks=[f"a_{kind}"])
    assert len(results) == len(rows)
    for result in results:
        json.dumps(result.to_json())
        assert list(result) == [f"a_{kind}"]


def test_one_call_predicts_whatever_can_read_the_input(model: Model) -> None:
    rows = [
        {key: value for key, value in row.items() if key != "label"} for kind in TYPES for row in specimens(kind)[:2]
    ]
    for row, result in zip(rows, model(rows), strict=True):
        assert "a_classification" in result or "options" in row
        json.dumps(result.to_json())


def test_a_treebank_goes_in_and_comes_out(run: braid.Run, tmp_path: Path) -> None:
    given, found = tmp_path / "in.conllu", tmp_path / "out.conllu"
    line = "\t".join
    rows = [line([str(k), word, *["_"] * 8]) for k, word in enumerate(("Anna", "left", "Rome", "."), start=1)]
    given.write_text("# text = Anna left Rome.\n" + "\n".join(rows) + "\n\n")
    command = ["predict", str(run.directory), str(given), "--format", "conllu", "-o", str(found)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    lines = found.read_text().splitlines()
    assert lines[0] == "# text = Anna left Rome."
    assert [cells.split("\t")[1] for cells in lines[1:5]] == ["Anna", "left", "Rome", "."]
    assert sorted(int(cells.split("\t")[6]) for cells in lines[1:5])[0] == 0


def test_a_task_asked_for_by_name_must_fit_the_input(model: Model) -> None:
    unfit = [kind for kind in TYPES if model.tasks[f"a_{kind}"].labelled.fits(Example("just a text")) is not None]
    for kind in unfit:
        with pytest.raises(BraidError, match=f"input 1: task 'a_{kind}' cannot read it"):
            model("just a text", tasks=[f"a_{kind}"])
    assert not set(model("just a text")) & {f"a_{kind}" for kind in unfit}


def test_texts_become_vectors(model: Model) -> None:
    found = model.embed(["a good film", "", "a rather long text about nothing " * 30])
    assert found.shape[0] == 3
    assert np.isfinite(found).all()
    assert model.embed([]).shape[0] == 0
    with pytest.raises(BraidError, match="makes no embeddings"):
        model.embed(["a"], task="a_classification")
