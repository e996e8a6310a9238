"""`braid average`: the mean of weights is a run like any other; what does not fit is named, all of it at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import braid
from braid.checkpoint.model_files import file_sha256
from braid.cli import app
from braid.errors import BraidError
from braid.run.averaging import average
from braid.tools.average import Ingredient, mean
from braid.tools.average import average as average_models
from run.conftest import recipe_data, rows, write_jsonl

ENCODER = "encoder/model.safetensors"
MOOD = "tasks/mood/head.safetensors"


def moved(run: Path, copy: Path, step: float) -> Path:
    """A copy of a run whose weights all lie `step` beside it."""
    shutil.copytree(run, copy)
    for path in [copy / ENCODER, *copy.glob("tasks/*/head.safetensors")]:
        tensors = {k: v + step if v.is_floating_point() else v for k, v in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    for path in copy.glob("tasks/*/task.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "encoder_sha256": file_sha256(copy / ENCODER)}))
    return copy


def test_the_mean_is_the_mean_of_every_weight(trained: Path, tmp_path: Path) -> None:
    other = moved(trained, tmp_path / "other", 0.5)
    made = average([trained, other], tmp_path / "out", weights=[3, 1])
    for file in (ENCODER, MOOD):
        before, after = load_file(trained / file), load_file(made.directory / file)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor + 0.125 if tensor.is_floating_point() else tensor)
    assert [share.weight for share in made.shares] == [0.75, 0.25]


def test_the_mean_of_a_model_and_its_copy_is_the_model(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    made = average([trained, tmp_path / "copy"], tmp_path / "out")
    text = "visit to 北京 was good in week 3"
    assert braid.load(made.directory)(text).to_json() == braid.load(trained)(text).to_json()
    assert made.metrics["test"] == braid.evaluate(trained, "test")
    assert json.loads((made.directory / "metrics.json").read_text()) == made.metrics


def test_the_result_is_a_run_like_any_other(trained: Path, tmp_path: Path) -> None:
    other = moved(trained, tmp_path / "other", 0.01)
    run = CliRunner().invoke
    done = run(app, ["average", str(trained), str(other), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "their mean" in done.output
    report = json.loads(run(app, ["inspect", str(tmp_path / "out"), "--json"]).output)
    assert (report["ok"], report["loads"], report["kind"]) == (True, True, "a finished run")
    assert report["facts"]["averaged from"] == [str(trained), str(other)]
    evaluated = json.loads(run(app, ["evaluate", str(tmp_path / "out"), "--json"]).output)
    assert evaluated == json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]


def test_whole_numbers_are_kept_and_must_agree(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 3), ("c", 4)):
        save_file({"n": torch.tensor([number]), "w": torch.ones(2) * number}, tmp_path / name)
    assert mean([(tmp_path / "a", 0.5), (tmp_path / "b", 0.5)])["n"].tolist() == [3]
    with pytest.raises(BraidError, match="n holds other whole numbers"):
        mean([(tmp_path / "a", 0.5), (tmp_path / "c", 0.5)])


def test_half_precision_is_summed_in_full(tmp_path: Path) -> None:
    values = torch.tensor([1.0, 1e-3], dtype=torch.float16)
    for k in range(10):
        save_file({"w": values}, tmp_path / str(k))
    found = mean([(tmp_path / str(k), 0.1) for k in range(10)])["w"]
    assert found.dtype == torch.float16
    assert torch.equal(found, values)


def test_greedy_leaves_out_what_makes_dev_worse(trained: Path, tmp_path: Path) -> None:
    good = moved(trained, tmp_path / "good", 0.0)
    bad = moved(trained, tmp_path / "bad", 5.0)
    made = average([bad, trained, good], tmp_path / "out", greedy=True)
    assert [share.weight for share in made.shares] == [0.0, 0.5, 0.5]
    assert made.metrics["dev"] == braid.evaluate(trained, "dev")
    recipe = (made.directory / "recipe.yaml").read_text()
    assert f"out: {tmp_path / 'out'}" in recipe


def test_greedy_goes_by_what_is_asked_for(trained: Path, tmp_path: Path) -> None:
    other = moved(trained, tmp_path / "other", 0.0)
    with pytest.raises(BraidError, match="--by moods: there is no such task; did you mean 'mood'"):
        average([trained, other], tmp_path / "out", greedy=True, by=["moods"])
    with pytest.raises(BraidError, match="--by: task 'places' has no metric 'acc'"):
        average([trained, other], tmp_path / "out", greedy=True, by=["mood", "places.acc"])
    assert not (tmp_path / "out").exists()


def test_everything_that_does_not_fit_is_named_at_once(trained: Path, tmp_path: Path) -> None:
    data: dict[str, Any] = recipe_data(tmp_path)
    data["train"]["epochs"] = 1
    data["encoder"]["hidden_size"] = 48
    data["encoder"]["vocab_size"] = 120
    other = [{**row, "mood": {"pos": "good", "neg": "bad"}[row["mood"]]} for row in rows(48)]
    data["tasks"]["mood"]["data"] = str(write_jsonl(tmp_path / "other.jsonl", other))
    data["tasks"]["places"]["crf"] = False
    data["tasks"]["more"] = data["tasks"].pop("score")
    data["chain"] = "mood | places | more"
    run = braid.train(braid.Recipe(**data), say=lambda message: None).directory
    with pytest.raises(BraidError) as caught:
        average([trained, run], tmp_path / "out")
    said = str(caught.value)
    for part in (
        "it has no task 'score'",
        "it has a task 'more'",
        "labels is ['bad', 'good'], not ['neg', 'pos']",
        "places: crf is false, not true",
        "hidden_size is 48, not 32",
        "its vocabulary is another one",
        "encoder: embeddings.LayerNorm.bias is 48, not 32",
    ):
        assert part in said
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_the_call_is_named(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    for paths, options, message in (
        ([trained], {}, "two or more"),
        ([trained, trained], {}, "named twice"),
        ([trained, copy], {"weights": [1.0]}, "1 weights for 2 models"),
        ([trained, copy], {"weights": [0.0, 0.0]}, "greater"),
        ([trained, copy], {"weights": [1.0, 1.0], "greedy": True}, "takes no --weights"),
        ([trained, tmp_path / "nix"], {}, "nix is not there"),
    ):
        with pytest.raises(BraidError, match=message):
            average(paths, tmp_path / "out", **options)
    with pytest.raises(BraidError, match="would replace"):
        average([trained, copy], copy, overwrite=True)
    (copy / "tasks" / "mood" / "head.safetensors").unlink()
    with pytest.raises(BraidError, match=r"head\.safetensors is missing"):
        average([trained, copy], tmp_path / "out")


def test_what_is_there_is_replaced_only_when_asked(trained: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "copy", tmp_path / "out"
    for path in (copy, out):
        shutil.copytree(trained, path)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BraidError, match="--overwrite"):
        average([trained, copy], out)
    assert (out / "mine.txt").read_text() == "mine"
    average([trained, copy], out, overwrite=True)
    assert not (out / "mine.txt").exists()


def test_what_is_no_run_is_never_replaced(trained: Path, tmp_path: Path) -> None:
    copy, mine = shutil.copytree(trained, tmp_path / "copy"), tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BraidError, match="is no run; it is not replaced"):
        average([trained, copy], mine, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_without_its_data_a_mean_has_no_figures_but_predicts(trained: Path, tmp_path: Path) -> None:
    copies = []
    for name in ("a", "b"):
        copies.append(Ingredient(name, tmp_path / name))
        shutil.copytree(trained, tmp_path / name)
        recipe = tmp_path / name / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("dev.jsonl", "gone.jsonl").replace("test.jsonl", "gone.jsonl"))
    said: list[str] = []
    made = average_models(copies, tmp_path / "out", say=said.append)
    assert made.metrics == {}
    assert any(line.startswith("no figures on dev") for line in said)
    assert braid.load(made.directory)("visit to Rome")["mood"].label in ("pos", "neg")


def test_saved_states_of_an_unfinished_run(unfinished: Path, tmp_path: Path) -> None:
    made = average([unfinished], tmp_path / "out")
    states = [unfinished / "state" / name for name in ("step-1", "step-2")]
    assert [share.name for share in made.shares] == [str(state) for state in states]
    before = [load_file(state / "weights.safetensors")["encoder.embeddings.word.weight"] for state in states]
    after = load_file(made.directory / ENCODER)["embeddings.word_embeddings.weight"]
    assert not torch.equal(before[0], before[1])
    torch.testing.assert_close(after, (before[0] + before[1]) / 2)
    assert set(made.metrics["dev"]) == {"mood", "places", "score"}
