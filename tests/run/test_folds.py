"""`train --folds`: every training row is predicted by the run that never saw it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.errors import BraidError, Interrupted
from braid.run import folds as module
from braid.run.folds import spread
from run.conftest import rows, write_jsonl

Recipes = Callable[..., dict[str, Any]]


def short(recipe: dict[str, Any]) -> dict[str, Any]:
    """One group, a step or two."""
    data = {"train": recipe["tasks"]["mood"]["data"]["train"], "test": recipe["tasks"]["mood"]["data"]["test"]}
    tasks = {"mood": {"type": "classification", "data": data}, "score": {"type": "regression", "data": data}}
    train = {**recipe["train"], "epochs": 1}
    return {**recipe, "tasks": tasks, "chain": "mood & score", "train": train}


def silent(message: str) -> None:
    """Says nothing."""


def test_every_row_is_predicted_by_who_never_saw_it(recipe_of: Recipes) -> None:
    recipe = braid.Recipe(**short(recipe_of()))
    made = braid.train(recipe, folds=3, say=silent)
    lines = [json.loads(line) for line in (made.directory / "out_of_fold.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [row["text"] for row in rows(48)]
    assert [line["gold"]["mood"] for line in lines] == [row["mood"] for row in rows(48)]
    for number, run in enumerate(made.runs, 1):
        model = braid.load(run)
        held = [line for line in lines if line["fold"] == number]
        assert sorted(line["gold"]["mood"] for line in held) == ["neg"] * 8 + ["pos"] * 8
        for line, result in zip(held, model([line["text"] for line in held]), strict=True):
            assert result["mood"].label == line["mood"]["label"]
            assert result["score"].value == pytest.approx(line["score"]["value"], abs=1e-2)
        trained = json.loads((run / "metrics.json").read_text())
        assert trained["train"]["best"] is None  # the rows that are held out choose nothing
    right = sum(line["mood"]["label"] == line["gold"]["mood"] for line in lines)
    assert made.out_of_fold["mood"]["accuracy"] == pytest.approx(right / 48)
    errors = [(line["score"]["value"] - line["gold"]["score"]) ** 2 for line in lines]
    assert made.out_of_fold["score"]["mse"] == pytest.approx(sum(errors) / 48)
    tests = [json.loads((run / "metrics.json").read_text())["test"]["mood"]["accuracy"] for run in made.runs]
    assert made.test["mood"]["accuracy"]["values"] == tests

    # Again: nothing is trained; another recipe is refused; a fold that is gone is trained again.
    before = [(run / "metrics.json").stat().st_mtime_ns for run in made.runs]
    gone = made.runs[1] / "metrics.json"
    assert braid.train(recipe, folds=3, say=silent).out_of_fold == made.out_of_fold
    assert [(run / "metrics.json").stat().st_mtime_ns for run in made.runs] == before
    with pytest.raises(BraidError, match=r"folds: was 3, is 4"):
        braid.train(recipe, folds=4, say=silent)
    other = recipe.model_copy(update={"seed": 2})
    with pytest.raises(BraidError, match=r"seed: was 1, is 2[\s\S]*--overwrite"):
        braid.train(other, folds=3, say=silent)
    gone.unlink()
    braid.train(recipe, folds=3, say=silent)
    after = [(run / "metrics.json").stat().st_mtime_ns for run in made.runs]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_an_interrupted_fold_goes_on(recipe_of: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = short(recipe_of())
    data["train"] |= {"max_minutes": 0.0001, "epochs": 3}
    with pytest.raises(Interrupted, match=r"Go on with the same command$"):
        braid.train(braid.Recipe(**data), folds=2, say=silent)
    resumed = []
    whole = module.train

    def watched(recipe: Any, **options: Any) -> Any:
        resumed.append((Path(recipe.out).name, options["resume"]))
        return whole(recipe, **options)

    monkeypatch.setattr(module, "train", watched)
    del data["train"]["max_minutes"]
    braid.train(braid.Recipe(**data), folds=2, say=silent)
    assert resumed == [("fold-1", True), ("fold-2", False)]


def test_the_command_prints_the_table(recipe_of: Recipes, tmp_path: Path) -> None:
    braid.Recipe(**short(recipe_of())).save(tmp_path / "recipe.yaml")
    done = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "--folds", "2"])
    assert done.exit_code == 0, done.output
    assert "mean of 2 folds" in done.output
    assert "±" in done.output
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "run")])
    assert "the folds of a recipe" in done.output


def test_what_cannot_be_folded_is_named(recipe_of: Recipes, tmp_path: Path) -> None:
    data = short(recipe_of())
    with pytest.raises(BraidError, match="2 folds or more"):
        braid.train(braid.Recipe(**data), folds=1, say=silent)
    few = str(write_jsonl(tmp_path / "few.jsonl", rows(4)))
    data["tasks"] = {"mood": {"type": "classification", "data": few}}
    data["chain"] = "mood"
    with pytest.raises(BraidError, match="mood: 5 folds need as many rows or more; there are 4 rows"):
        braid.train(braid.Recipe(**data), folds=5, say=silent)
    (tmp_path / "corpus.txt").write_text("some text\n")
    data["tasks"] = {"mlm": {"type": "mlm", "data": str(tmp_path / "corpus.txt")}}
    data["chain"] = "mlm"
    with pytest.raises(BraidError, match="nothing to divide"):
        braid.train(braid.Recipe(**data), folds=2, say=silent)


def test_the_deviation_is_that_of_a_sample() -> None:
    found = spread([{"a": {"f1": 0.2}}, {"a": {"f1": 0.4, "more": 1.0}}])
    assert found == {
        "a": {"f1": {"mean": pytest.approx(0.3), "deviation": pytest.approx(0.02**0.5), "values": [0.2, 0.4]}}
    }
