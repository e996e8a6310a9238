"""`sweep`: the grid in order, resumable, every problem before the first run, the best by dev."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.errors import BraidError, Interrupted, RecipeError
from braid.run import sweep as module
from braid.run.results import Trial, by_settings

pytest.importorskip("optuna")
Recipes = Callable[..., dict[str, Any]]


def silent(message: str) -> None:
    """Says nothing."""


@pytest.fixture
def recipe(recipe_of: Recipes) -> dict[str, Any]:
    """One task, two steps."""
    data = recipe_of()
    return {
        **data,
        "tasks": {"mood": data["tasks"]["mood"]},
        "chain": "mood",
        "train": {**data["train"], "epochs": 2, "max_steps": 2},
    }


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Which trials were trained, and whether they went on."""
    seen: list[tuple[str, bool]] = []
    whole = module.train

    def watched(recipe: Any, **options: Any) -> Any:
        seen.append((Path(recipe.out).name, options["resume"]))
        return whole(recipe, **options)

    monkeypatch.setattr(module, "train", watched)
    return seen


def test_a_grid_is_run_in_order_and_not_again(recipe: dict[str, Any], trained: list[tuple[str, bool]]) -> None:
    axes = ["lr=1e-9,5e-3", "seed=1..2"]
    done = braid.sweep(recipe, axes, say=silent)
    assert [name for name, _ in trained] == ["trial-1", "trial-2", "trial-3", "trial-4"]
    points = {trial.number: trial.point for trial in done.trials}
    assert points[1] == {"train.lr": "1e-9", "seed": "1"}
    assert points[4] == {"train.lr": "5e-3", "seed": "2"}
    for trial in done.trials:
        saved = braid.Recipe.load_saved(trial.directory / "recipe.yaml")
        assert (saved.train.lr, saved.seed) == (float(trial.point["train.lr"]), int(trial.point["seed"]))
        dev = json.loads((trial.directory / "metrics.json").read_text())["dev"]["mood"]["accuracy"]
        assert trial.score == trial.dev["mood"]["accuracy"] == dev
    assert [trial.score for trial in done.trials] == sorted((trial.score for trial in done.trials), reverse=True)
    assert {len(setting.trials) for setting in done.settings} == {2}
    alone = braid.train(braid.Recipe.load(recipe, [*done.overrides, f"out={recipe['out']}-again"]), say=silent)
    assert alone.metrics["dev"] == done.best.dev

    assert braid.sweep(recipe, axes, say=silent).to_json() == done.to_json()
    assert len(trained) == 5 - 1  # nothing more through the sweep
    with pytest.raises(BraidError, match=r"values of seed: was '1,2', is '1,2,3'"):
        braid.sweep(recipe, ["lr=1e-9,5e-3", "seed=1..3"], say=silent)


def test_an_interrupted_sweep_goes_on(recipe: dict[str, Any], trained: list[tuple[str, bool]]) -> None:
    axes = ["lr=1e-4,5e-3"]
    stopped = {**recipe, "train": {**recipe["train"], "max_minutes": 0.0001}}
    with pytest.raises(Interrupted, match=r"Go on with the same command$"):
        braid.sweep(stopped, axes, say=silent)
    done = braid.sweep(recipe, axes, say=silent)
    assert trained == [("trial-1", False), ("trial-1", True), ("trial-2", False)]
    assert len(done.trials) == 2


def test_what_is_drawn_is_drawn_alike_after_an_interruption(recipe: dict[str, Any], tmp_path: Path) -> None:
    axes = ["lr=log(1e-5,1e-2)", "train.warmup=uniform(0,0.5)"]
    once = braid.sweep({**recipe, "out": str(tmp_path / "once")}, axes, trials=3, say=silent)
    twice: Any = None
    for trials in (1, 3):
        twice = braid.sweep({**recipe, "out": str(tmp_path / "twice")}, axes, trials=trials, say=silent)
    points = [[trial.point for trial in sorted(done.trials, key=lambda one: one.number)] for done in (once, twice)]
    assert points[0] == points[1]
    assert len({point["train.lr"] for point in points[0]}) == 3


def test_every_problem_of_any_point_comes_before_the_first_run(
    recipe: dict[str, Any], trained: list[tuple[str, bool]]
) -> None:
    with pytest.raises(RecipeError) as caught:
        braid.sweep(recipe, ["lr=1e-4,fast", "train.schedule=linear,cosin", "train.warmup=uniform(-1,0.1)"], trials=2)
    said = str(caught.value)
    assert "the sweep has 3 problems" in said
    for part in ("train.lr", "did you mean 'cosine'", "train.warmup"):
        assert part in said
    for options, message in (
        ({"by": ["moods.f1"]}, "there is no such task"),
        ({"by": ["mood.acuracy"]}, r"--by: task 'mood' has no metric 'acuracy': did you mean 'accuracy'"),
        ({"axes": ["lr=log(1e-5,1e-3)"]}, "--trials 20"),
    ):
        axes = options.pop("axes", ["lr=1e-4,1e-3"])
        with pytest.raises(BraidError, match=message):
            braid.sweep(recipe, axes, **options)
    del recipe["tasks"]["mood"]["data"]["dev"]
    with pytest.raises(BraidError, match="never on test"):
        braid.sweep(recipe, ["lr=1e-4,1e-3"])
    assert trained == []
    assert not Path(recipe["out"]).exists()


def test_the_command_names_the_best_and_how_to_train_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    braid.Recipe(**recipe).save(tmp_path / "recipe.yaml")
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "recipe.yaml"), "lr=1e-9,5e-3", "--by", "mood.macro_f1"])
    assert done.exit_code == 0, done.output
    assert "mood macro_f1 (dev)" in done.output
    assert "train it again: braid train " in done.output


def test_settings_are_compared_over_seeds() -> None:
    def trial(number: int, lr: str, seed: int, score: float) -> Trial:
        return Trial(number, Path(), {"train.lr": lr, "seed": str(seed)}, score, {}, {}, 0.0)

    lucky = [trial(1, "a", 1, 0.9), trial(2, "a", 2, 0.1), trial(3, "b", 1, 0.6), trial(4, "b", 2, 0.7)]
    best, other = by_settings(sorted(lucky, key=lambda one: -(one.score or 0)))
    assert best.point == {"train.lr": "b"}
    assert (best.mean, best.trials) == (pytest.approx(0.65), [4, 3])
    assert other.deviation == pytest.approx(0.32**0.5)
