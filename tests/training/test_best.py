"""What "best" goes by: metrics that a task has, and only those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import braid
import tiny
from braid.config.families import TaskConfig
from braid.errors import BraidError
from braid.model.network import TaskSpec
from braid.tasks.base import LabelledTask
from braid.training.best import check_metrics, metrics_of
from run.conftest import recipe_data


def spec_of(kind: str) -> TaskSpec:
    if not issubclass(TaskConfig.lookup(kind), LabelledTask):
        return TaskSpec(tiny.task_of(kind), {})
    examples = [tiny.example_of(row, "t") for row in tiny.specimens(kind)]
    return tiny.specs_of({"t": tiny.task_of(kind)}, {"t": examples})["t"]


@pytest.mark.parametrize("kind", list(TaskConfig.variants()))
def test_every_type_knows_its_metrics_before_anything_is_measured(kind: str) -> None:
    spec = spec_of(kind)
    assert spec.task.best(spec.facts) in metrics_of(spec)
    with pytest.raises(BraidError, match="task 't' has no metric 'f_one'"):
        check_metrics({"t": spec}, ["t.f_one"])


@pytest.mark.parametrize("kind", list(TaskConfig.variants()))
@pytest.mark.parametrize("by", [[], ["t"]])
def test_where_no_metric_is_named_nothing_must_be_known_of_the_data(kind: str, by: list[str]) -> None:
    check_metrics({"t": TaskSpec(tiny.task_of(kind), {})}, by)


def test_metrics_that_depend_on_the_rows_are_known_too() -> None:
    assert {"has_answer_f1", "no_answer_f1"} <= set(metrics_of(spec_of("span")))
    assert "bits_per_character" in metrics_of(spec_of("clm"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"best": ["mood.acuracy"]}, r"train\.best: task 'mood' has no metric 'acuracy': did you mean 'accuracy'"),
        ({"metric": "mcccc"}, r"tasks\.mood\.metric: task 'mood' has no metric 'mcccc': did you mean 'mcc'"),
    ],
)
def test_a_metric_that_is_not_there_is_said_before_training(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data = recipe_data(tmp_path)
    if "metric" in change:
        data["tasks"]["mood"]["metric"] = change["metric"]
    else:
        data["train"]["best"] = change["best"]
    with pytest.raises(BraidError, match=message):
        braid.train(braid.Recipe(**data), say=lambda message: None)
    assert not (tmp_path / "run").exists()
