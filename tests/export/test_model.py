"""Exported models of many tasks: one run of the graph for all, decoded without their heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import braid
import tiny
from braid.checkpoint.model_files import save_encoder, save_tasks
from braid.config.families import EncoderConfig
from braid.data.example import Example
from braid.errors import BraidError
from braid.export.exporting import export
from braid.export.parity import TOLERANCE, agreement
from braid.export.speakers import read_speaker, whole_head, write_speaker
from braid.tasks.classification import Classification, ClassificationHead, Label

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EIGHT: dict[str, dict[str, Any]] = {
    "topic": {"type": "classification"},
    "reads.twice": {"type": "classification", "head": "san"},
    "aspects": {"type": "multilabel"},
    "stars": {"type": "regression"},
    "names": {"type": "tagging", "crf": True},
    "marks": {"type": "tagging"},
    "nearness": {"type": "similarity", "loss": "regression"},
    "tree": {"type": "dependency"},
}
TEXT = Example("Anna left Rome at 3", "Carl left Oslo")
"""What all eight can read."""


class Shouting(ClassificationHead):
    """A head that decodes by itself, as a plugin's may."""

    def decode(self, logits: Any, examples: Any, units: Any) -> list[Label]:
        return [Label(found.label.upper(), found.probabilities) for found in super().decode(logits, examples, units)]


def saved(folder: Path, tasks: dict[str, dict[str, Any]]) -> dict[str, list[Example]]:
    """A run of fresh tiny heads, and specimens of each task."""
    torch.manual_seed(0)
    kinds = {name: options["type"] for name, options in tasks.items()}
    examples = {name: [tiny.example_of(row, name) for row in tiny.specimens(kind)] for name, kind in kinds.items()}
    if "reads.twice" in examples:
        examples["reads.twice"] = [Example(one.text, "so it is", labels=one.labels) for one in examples["reads.twice"]]
    tokenizer = tiny.tokenizer_of([example for found in examples.values() for example in found])
    model = tiny.model_of(tokenizer, tiny.specs_of({n: tiny.task_of(**_kind(o)) for n, o in tasks.items()}, examples))
    if "aspects" in tasks:
        model.head("aspects").threshold_C.copy_(torch.tensor([0.45, 0.5, 0.55]))  # type: ignore[operator]
    config = EncoderConfig.lookup("bert").model_validate(tiny.ENCODER)
    sha = save_encoder(folder, model.encoder, config, tokenizer, max_length=48, stride=12)
    save_tasks(folder, model, sha)
    return examples


def _kind(options: dict[str, Any]) -> dict[str, Any]:
    return {"kind": options["type"], **{key: value for key, value in options.items() if key != "type"}}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Example]]]:
    folder = tmp_path_factory.mktemp("eight")
    examples = saved(folder / "run", EIGHT)
    export(folder / "run", out=folder / "graph")
    return folder, examples


def counted(model: Any) -> list[list[str]]:
    """The outputs that each run of the graph is asked for, from now on."""
    runs: list[list[str]] = []
    plain = model.session.run
    model.session.run = lambda inputs, outputs: runs.append(list(outputs)) or plain(inputs, outputs)
    return runs


def test_eight_tasks_come_from_one_run_of_the_graph(eight: Any) -> None:
    folder, _ = eight
    ours, theirs = braid.load(folder / "run", precision="fp32"), braid.load(folder / "graph")
    runs = counted(theirs)
    single = [name for name in EIGHT if name != "nearness"]
    found = theirs(TEXT, single)
    assert set(found) == set(single)
    assert len(runs) == 1
    assert sorted(runs[0]) == sorted(single)
    runs.clear()
    assert set(theirs(TEXT)) == set(EIGHT)
    assert sorted(map(sorted, runs)) in ([sorted(EIGHT)], [["nearness"], sorted(single)])
    assert list(theirs(TEXT)) == list(ours(TEXT))


def test_eight_tasks_agree_with_the_run(eight: Any) -> None:
    folder, examples = eight
    ours, theirs = braid.load(folder / "run", precision="fp32"), braid.load(folder / "graph")
    for name, found in agreement(ours, theirs, examples, tasks=list(EIGHT)).items():
        assert found.inputs == len(examples[name]), name
        assert found.exact, name
        assert found.raw < TOLERANCE, name


def test_a_list_takes_a_run_of_the_graph_for_each_batch_whatever_the_tasks(eight: Any) -> None:
    folder, _ = eight
    theirs = braid.load(folder / "graph", batch_tokens=16)
    runs = counted(theirs)
    theirs(["the film was good"] * 9, ["topic"])
    alone = len(runs)
    runs.clear()
    theirs(["the film was good"] * 9, ["topic", "aspects", "stars", "names", "marks", "tree"])
    assert len(runs) == alone > 1


def test_no_head_is_left_and_what_decodes_is_written_down(eight: Any) -> None:
    folder, _ = eight
    for name in EIGHT:
        there = folder / "graph" / "tasks" / name
        content = json.loads((there / "decoder.json").read_text())
        assert content["kind"] == EIGHT[name]["type"]
        assert not (there / "head.safetensors").exists()
        assert (there / "decoder.safetensors").exists() is (name in ("aspects", "names", "nearness"))
    assert json.loads((folder / "graph" / "tasks" / "reads.twice" / "decoder.json").read_text())["intake"]["need"]


def test_inputs_that_a_task_cannot_read_are_refused_as_by_the_run(eight: Any) -> None:
    folder, _ = eight
    ours, theirs = braid.load(folder / "run", precision="fp32"), braid.load(folder / "graph")
    assert set(theirs("Anna left")) == set(ours("Anna left")) == set(EIGHT) - {"reads.twice", "nearness"}
    for model in (ours, theirs):
        with pytest.raises(BraidError, match=r"input 1: task 'reads.twice' cannot read it: it needs a `pair`"):
            model("Anna left", ["reads.twice"])
        with pytest.raises(BraidError, match="no task 'topics'"):
            model("Anna left", ["topics"])


def test_rows_for_a_student_carry_logits(eight: Any) -> None:
    folder, _ = eight
    ours, theirs = braid.load(folder / "run", precision="fp32"), braid.load(folder / "graph")
    one, other = (model("Anna left Rome", ["topic", "names"], logits=True).to_json() for model in (ours, theirs))
    for task in ("topic", "names"):
        assert other[task]["logits"]["labels"] == one[task]["logits"]["labels"]
        np.testing.assert_allclose(other[task]["logits"]["values"], one[task]["logits"]["values"], atol=1e-4)


def test_embeddings_are_the_similarity_tasks(eight: Any) -> None:
    folder, _ = eight
    ours, theirs = braid.load(folder / "run", precision="fp32"), braid.load(folder / "graph")
    texts = ["Anna left Rome", "", "a boat " * 40]
    np.testing.assert_allclose(theirs.embed(texts), ours.embed(texts), atol=1e-4)
    assert theirs.embed([]).shape == (0, 32)


def test_the_command_embeds_with_a_graph(eight: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from braid.cli import app

    folder, _ = eight
    (tmp_path / "texts.txt").write_text("Anna left Rome\n\nCarl\n", encoding="utf-8")
    command = ["embed", str(folder / "graph"), str(tmp_path / "texts.txt"), "-o", str(tmp_path / "v.npy")]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    ours = braid.load(folder / "run", precision="fp32").embed(["Anna left Rome", "", "Carl"])
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), ours, atol=1e-4)
    command = ["embed", str(folder / "graph"), str(tmp_path / "texts.txt"), "-o", str(tmp_path / "t.npy"), "--tokens"]
    assert "no hidden states" in str(CliRunner().invoke(app, command).exception)


def test_a_head_that_decodes_by_itself_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_head(self: Classification, facts: Any, hidden_size: int) -> Shouting:
        return Shouting(self, facts, hidden_size)

    monkeypatch.setattr(Classification, "make_head", make_head)
    saved(tmp_path, {"topic": EIGHT["topic"]})
    model, folder = braid.load(tmp_path, precision="fp32"), tmp_path / "tasks" / "topic"
    write_speaker(folder, model.tasks["topic"], model.network.head("topic"), model.encoder_sha256)
    assert read_speaker(folder, model.encoder_sha256) is None
    encoder = {"hidden_size": 32, "sha256": model.encoder_sha256}
    kept = whole_head(tmp_path, "topic", encoder, force=False)
    (one,) = kept.decode([np.array([[3.0, 1.0]], np.float32)], [TEXT], [np.empty((0, 2), int)])
    assert one.label == "NEG"
    assert kept.intake == model.intakes["topic"]
    with pytest.raises(BraidError, match="another encoder"):
        whole_head(tmp_path, "topic", {**encoder, "sha256": "x"}, force=False)
