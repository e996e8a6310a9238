"""Teachers in memory, from recipe to run directory: several teachers for one braided student, hidden states, masked
tokens, resuming, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import braid
from braid.config.loading import read_document
from braid.data.textfile import sha256_of
from braid.errors import BraidError, Interrupted, RecipeError
from conftest import ROOT
from run.conftest import recipe_data, rows, write_jsonl

SMALL = {"hidden_size": 16, "layers": 1, "heads": 2, "max_length": 32}


def quiet(message: str) -> None: ...


def train(data: dict[str, Any], **more: Any) -> braid.Run:
    return braid.train(braid.Recipe(**data), say=quiet, **more)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A teacher of moods, and, with the same vocabulary, one of places and scores that is wider and deeper."""
    folder = tmp_path_factory.mktemp("teachers")
    first = recipe_data(folder)
    mood = {"mood": first["tasks"]["mood"]}
    run = train({**first, "tasks": mood, "chain": "mood", "out": str(folder / "mood")})
    others = {"places": first["tasks"]["places"], "score": {**first["tasks"]["score"], "pooling": "max"}}
    encoder = {"hidden_size": 24, "layers": 3, "heads": 2, "max_length": 32, "vocab": str(run.directory / "encoder")}
    train({**first, "encoder": encoder, "tasks": others, "chain": "places & score", "out": str(folder / "others")})
    return folder / "mood", folder / "others"


def student(folder: Path, teachers: tuple[Path, Path], **more: Any) -> dict[str, Any]:
    data = recipe_data(folder)
    data["tasks"]["score"]["pooling"] = "max"
    mood, others = map(str, teachers)
    return {
        **data,
        "encoder": {**SMALL, "vocab": f"{mood}/encoder"},
        "distill": {"teachers": {"mood": mood, "places": others, "score": {"run": others, "task": "score"}}},
        **more,
    }


def test_one_student_of_two_teachers_does_what_they_do(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    data = student(tmp_path, teachers)
    # The student's own labels are the wrong way round: what it knows is its teachers'.
    for task in data["tasks"].values():
        task["soft"] = {"alpha": 1.0}
    wrong = [{**row, "mood": "neg" if row["mood"] == "pos" else "pos", "score": 5 - row["score"]} for row in rows(48)]
    for task in data["tasks"].values():
        task["data"] = {**task["data"], "train": str(write_jsonl(tmp_path / "wrong.jsonl", wrong))}
    run = train(data)
    model, mood, others = (braid.load(path) for path in (run.directory, *teachers))
    texts = [row["text"] for row in rows(12, 100)]
    said, moods, taught = model(texts), mood(texts), others(texts)
    assert [one["mood"].label for one in said] == [one["mood"].label for one in moods]
    scores = [[one["score"].value for one in found] for found in (said, taught)]
    assert np.corrcoef(scores)[0, 1] > 0.5
    assert run.scores("test")["places"]["f1"] > 0.8


def test_hidden_states_come_nearer_and_their_map_is_not_in_the_model(
    tmp_path: Path, teachers: tuple[Path, Path]
) -> None:
    data = student(tmp_path, teachers, distill=None, chain="places & score | mood")
    data["distill"] = {"teachers": {"places": str(teachers[1])}, "hidden": {"map": "uniform", "weight": 1.0}}
    data["train"] = {**data["train"], "epochs": 2, "save_every": 1, "max_minutes": 0.000001}
    with pytest.raises(Interrupted):
        train(data)
    state = max((tmp_path / "run" / "state").glob("step-*"))
    held = {name for name in load_file(state / "weights.safetensors") if name.startswith("training_only.matching.0.")}
    names = ("layers.weight", "layers.bias", "embeddings.weight", "embeddings.bias")
    assert held == {f"training_only.matching.0.{name}" for name in names}
    data["train"]["max_minutes"] = None
    run = train(data, resume=True)
    saved = [name for file in run.directory.rglob("*.safetensors") for name in load_file(file)]
    assert saved
    assert not any("matching" in name for name in saved)


@pytest.mark.parametrize(("alpha", "regularisers"), [(0.5, []), ("annealed", []), ("annealed", ["pgd", "ema"])])
def test_a_resumed_student_is_bitwise_the_uninterrupted_one(
    tmp_path: Path, teachers: tuple[Path, Path], alpha: Any, regularisers: list[str]
) -> None:
    def data(out: str, **more: Any) -> dict[str, Any]:
        made = student(tmp_path, teachers, out=str(tmp_path / out))
        made["distill"]["hidden"] = "last"
        made["distill"]["teachers"] = {"mood": made["distill"]["teachers"]["mood"], "places": str(teachers[1])}
        made["tasks"]["mood"]["soft"] = {"alpha": alpha}
        made["train"] = {**made["train"], "epochs": 2, "regularisers": regularisers, **more}
        return made

    whole = train(data("whole"))
    with pytest.raises(Interrupted):
        train(data("stopped", max_minutes=0.000001))
    resumed = train(data("stopped"), resume=True)
    for name in ("encoder/model.safetensors", "tasks/mood/head.safetensors", "tasks/places/head.safetensors"):
        first, second = load_file(whole.directory / name), load_file(resumed.directory / name)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_teacher_is_another_course(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(teachers[0])
    data = student(tmp_path, teachers, distill={"teachers": {"mood": str(moved)}})
    data["train"] = {**data["train"], "epochs": 2, "max_minutes": 0.000001}
    with pytest.raises(Interrupted):
        train(data)
    data["train"]["max_minutes"] = None
    again = recipe_data(tmp_path)
    new = train(
        {
            **again,
            "seed": 5,
            "encoder": {**SMALL, "vocab": f"{teachers[0]}/encoder"},
            "tasks": {"mood": again["tasks"]["mood"]},
            "chain": "mood",
            "train": {**again["train"], "epochs": 1},
            "out": str(tmp_path / "new"),
        }
    )
    with pytest.raises(BraidError, match=r"teachers\.mood"):
        train({**data, "distill": {"teachers": {"mood": str(new.directory)}}}, resume=True)
    # The same teacher in another place is the same teacher.
    train({**data, "distill": {"teachers": {"mood": str(teachers[0])}}}, resume=True)


def test_the_run_directory_says_what_every_teacher_was_read_from(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    data = student(tmp_path, teachers)
    data["train"] = {**data["train"], "epochs": 1}
    run = train(data)
    found = json.loads((run.directory / "environment.json").read_text())["teachers"]
    read = {
        teachers[0]: ["encoder/model.safetensors", "tasks/mood/head.safetensors"],
        teachers[1]: [
            "encoder/model.safetensors",
            "tasks/places/head.safetensors",
            "tasks/score/head.safetensors",
        ],
    }
    assert found == {
        str(teacher): {"directory": str(teacher), "sha256": {name: sha256_of(str(teacher / name)) for name in names}}
        for teacher, names in read.items()
    }
    alone = train({**data, "distill": None, "out": str(tmp_path / "alone")})
    assert "teachers" not in json.loads((alone.directory / "environment.json").read_text())


def test_masked_tokens_of_a_teacher(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    text.write_text("".join(" ".join(words[k % 10 :] + words[: k % 10]) + "\n" for k in range(80)))
    encoder = {"hidden_size": 32, "layers": 2, "heads": 2, "max_length": 32}
    data: dict[str, Any] = {
        "encoder": encoder,
        "tasks": {"mlm": {"type": "mlm", "data": {"train": {"type": "documents", "path": str(text)}}}},
        "train": {"epochs": 12, "lr": 5e-3, "batch_rows": 16, "precision": "fp32"},
        "out": str(tmp_path / "teacher"),
        "cache": None,
    }
    teacher = train(data)
    data["tasks"]["mlm"] |= {"soft": {"alpha": 0.8}}
    pupil = {**data, "encoder": {**SMALL, "vocab": f"{teacher.directory}/encoder"}, "out": str(tmp_path / "student")}
    hidden = {"map": {1: 2}, "embeddings": False, "loss": "cosine"}
    pupil["distill"] = {"teachers": {"mlm": str(teacher.directory)}, "hidden": hidden}
    run = train(pupil)
    losses = [json.loads(line)["loss"]["mlm"] for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]


def test_what_cannot_be_taught_is_refused(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    mood, others = map(str, teachers)

    def refused(distill: dict[str, Any], **more: Any) -> str:
        with pytest.raises(BraidError) as caught:
            train({**student(tmp_path, teachers, distill=distill), **more})
        return str(caught.value)

    assert "is a tagging task, 'mood' is classification" in refused(
        {"teachers": {"mood": {"run": others, "task": "places"}}}
    )
    assert "has no task 'mood'" in refused({"teachers": {"mood": others}})
    assert "there is no run directory" in refused({"teachers": {"mood": str(tmp_path / "nowhere")}})
    bare = {"run": str(tmp_path / "nowhere"), "logits": False}
    assert "distill.teachers.mood: there is no directory" in refused({"teachers": {"mood": bare}, "hidden": "last"})
    other = refused({"teachers": {"mood": mood}}, encoder={**SMALL, "vocab_size": 90})
    assert f"encoder.vocab={mood}/encoder" in other
    assert "predict" in other
    assert "there must be `distill.hidden`" in refused({"teachers": {"mood": {"run": mood, "logits": False}}})
    assert "the teacher has no layer 7; it has 2" in refused({"teachers": {"mood": mood}, "hidden": [7]})
    assert "2 layers for the student's 1" in refused({"teachers": {"mood": mood}, "hidden": [1, 2]})
    unknown = student(tmp_path, teachers, distill={"teachers": {"moood": mood}})
    with pytest.raises(RecipeError, match=r"distill.teachers.moood.*there is no task 'moood': did you mean 'mood'"):
        braid.Recipe(**unknown)


def test_other_labels_are_refused_with_both_lists(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    data = student(tmp_path, teachers, distill={"teachers": {"mood": str(teachers[0])}})
    data["tasks"]["mood"]["labels"] = ["neg", "neutral", "pos"]
    with pytest.raises(BraidError, match="labels are 'neg', 'pos'; this task's are 'neg', 'neutral', 'pos'"):
        train(data)


def test_a_student_of_chosen_layers_of_its_teacher(tmp_path: Path, teachers: tuple[Path, Path]) -> None:
    data = student(tmp_path, teachers)
    data["encoder"] = {"pretrained": str(teachers[1]), "keep_layers": [1, 3], "max_length": 32}
    data["distill"] = {"teachers": {"places": str(teachers[1])}, "hidden": [1, 3]}
    data["train"] = {**data["train"], "epochs": 1, "lr": 1e-9}
    run = train(data)
    theirs = load_file(teachers[1] / "encoder" / "model.safetensors")
    ours = load_file(run.directory / "encoder" / "model.safetensors")
    assert json.loads((run.directory / "encoder" / "config.json").read_text())["num_hidden_layers"] == 2
    name = "encoder.layer.{}.output.dense.weight"
    torch.testing.assert_close(ours[name.format(1)], theirs[name.format(2)], atol=1e-5, rtol=0)
    assert name.format(2) not in ours
    assert len(braid.load(run.directory)("visit to Rome")["places"].tags) == 3
    # A run of two layers is what another recipe starts from.
    data["encoder"] = {"pretrained": str(run.directory), "keep_layers": [2, 3], "max_length": 32}
    with pytest.raises(BraidError, match="there is no layer 3; this encoder has 2"):
        train({**data, "distill": None, "out": str(tmp_path / "more")})


@pytest.mark.parametrize("name", ["teacher", "student", "rows", "multitask", "mlm"])
def test_the_recipes_say_what_there_is(name: str) -> None:
    """They read each other's runs, which are not there; everything else must be right."""
    content = read_document(ROOT / "recipes" / "distill" / f"{name}.yaml").data
    assert braid.Recipe(**content).name
    assert f"distill/{name}.yaml" in (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
