"""`braid inspect` says what a path is, how large, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.errors import BraidError
from braid.tools.inspect import inspect
from braid.tools.tensor_files import TensorInfo, part_of, parts_of, program_of


def weights(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(3, 2) for name in names}


def test_a_finished_run_is_whole(trained: Path) -> None:
    report = inspect(trained)
    assert (report.kind, report.ok, report.loads) == ("a finished run", True, True)
    assert [(task.name, task.type, task.labels) for task in report.tasks] == [
        ("mood", "classification", ["neg", "pos"]),
        ("places", "tagging", ["O", "B-PLACE", "I-PLACE"]),
        ("score", "regression", []),
    ]
    network = braid.load(trained).network
    assert report.parameters == sum(parameter.numel() for parameter in network.parameters()) + sum(
        buffer.numel() for buffer in network.buffers() if buffer.is_floating_point()
    )
    assert report.facts["vocabulary"] == braid.load(trained).tokenizer.vocab_size
    assert report.metrics["dev"]["mood"] == json.loads((trained / "metrics.json").read_text())["dev"]["mood"]
    assert report.versions["torch"].startswith(torch.__version__.split("+")[0])


def test_everything_that_is_wrong_with_a_run_is_named(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "tasks" / "mood" / "head.safetensors").unlink()
    (run / "tasks" / "score" / "task.json").write_text("[]")
    content = json.loads((run / "tasks" / "places" / "task.json").read_text())
    (run / "tasks" / "places" / "task.json").write_text(json.dumps({**content, "encoder_sha256": "0" * 64}))
    (run / "metrics.json").write_text("{")
    report = inspect(run)
    said = "\n".join(report.problems)
    assert not report.loads
    for part in ("head.safetensors is missing", "holds no mapping", "trained on another encoder", "metrics.json"):
        assert part in said
    done = CliRunner().invoke(app, ["inspect", str(run)])
    assert done.exit_code == 2
    assert "head.safetensors" in done.output


def test_an_encoder_and_its_weights(trained: Path) -> None:
    report = inspect(trained / "encoder")
    assert (report.kind, report.loads) == ("an encoder of Braid", True)
    assert report.facts["in a recipe"] == f"encoder: {{type: bert, pretrained: {trained / 'encoder'}}}"
    file = inspect(trained / "encoder" / "model.safetensors")
    assert file.kind == "weights of BERT or a relative in transformers' names"
    tensors = load_file(trained / "encoder" / "model.safetensors")
    assert file.parameters == sum(tensor.numel() for tensor in tensors.values()) == report.parameters
    assert {name: info.shape for name, info in file.tensors.items()} == {k: tuple(v.shape) for k, v in tensors.items()}


def test_a_directory_of_transformers(minilm: Path) -> None:
    report = inspect(minilm)
    assert (report.kind, report.ok, report.loads) == ("a model in transformers' layout", True, True)
    assert report.parameters == 22_713_216  # as transformers counts them
    assert report.facts["embeddings"] == report.facts["vocabulary"] == 30_522
    assert [(part.name, part.parameters) for part in report.parts if "layers" in part.name] == [
        ("6 layers of 1,774,464", 6 * 1_774_464)
    ]


@pytest.mark.parametrize(
    ("names", "beside", "program"),
    [
        (["embedding.word_embedding.weight"], (), "a UER-py checkpoint"),
        (["module.encoder.transformer.11.self_attn.linear_layers.0.weight"], (), "a UER-py checkpoint"),
        (["embedding.word.embedding.weight", "target.mlm.linear_1.weight"], (), "a TencentPretrain checkpoint"),
        (
            ["bert.encoder.layer.0.attention.self.query.weight", "scoring_list.0.weight"],
            ("optimizer", "config"),
            "an MT-DNN checkpoint with what its trainer saved",
        ),
        (
            ["bert.encoder.layer.0.attention.self.query.weight", "bert.embeddings.LayerNorm.gamma"],
            (),
            "weights of BERT or a relative in transformers' names, in the spelling of 2018",
        ),
        (["transformer.h.0.attn.c_attn.weight"], (), "weights of GPT-2 in transformers' names"),
        (["encoder.layers.0.qkv.weight", "_heads.mood.output.weight"], (), "a saved state of Braid (weights alone)"),
        (["fc1.weight"], (), None),
    ],
)
def test_programs_are_known_by_their_keys(names: list[str], beside: tuple[str, ...], program: str | None) -> None:
    assert program_of(names, beside) == program


def test_layers_of_one_size_are_one_line() -> None:
    info = TensorInfo((4, 5), "float32")
    names = ["embeddings.word.weight", *(f"encoder.layer.{k}.output.weight" for k in range(12)), "pooler.dense.weight"]
    parts = parts_of({**dict.fromkeys(names, info), "encoder.layer.12.output.weight": TensorInfo((7,), "float16")})
    assert [(part.name, part.parameters) for part in parts] == [
        ("embeddings", 20),
        ("12 layers of 20", 240),
        ("layer 12", 7),
        ("pooler", 20),
    ]
    assert part_of("_heads.a%2Eb.output.weight") == "head a.b"


def test_tied_weights_count_once(tmp_path: Path) -> None:
    found = weights("embedding.word_embedding.weight")
    found["target.mlm_linear_2.weight"] = found["embedding.word_embedding.weight"]
    torch.save(found, tmp_path / "uer.bin")
    report = inspect(tmp_path / "uer.bin")
    assert report.parameters == 6
    assert report.facts["tied"] == "target.mlm_linear_2.weight is embedding.word_embedding.weight"


def test_files_that_bring_code_are_not_read(tmp_path: Path) -> None:
    torch.save({"state": weights("scoring_list.0.weight"), "args": argparse.Namespace(x=1)}, tmp_path / "a.pt")
    with pytest.raises(BraidError, match=r"argparse\.Namespace, which only running its code would make"):
        inspect(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors"])
@pytest.mark.parametrize("part", [0, 5, 500])
def test_cut_files_are_named(tmp_path: Path, trained: Path, name: str, part: int) -> None:
    whole = tmp_path / "whole.bin"
    torch.save(weights("a", "b"), whole)
    source = whole if name.endswith(".bin") else trained / "encoder" / "model.safetensors"
    (tmp_path / name).write_bytes(source.read_bytes()[:part])
    with pytest.raises(BraidError, match=f"{name} is damaged"):
        inspect(tmp_path / name)


def test_an_unfinished_run(unfinished: Path) -> None:
    report = inspect(unfinished)
    assert (report.kind, report.loads, report.problems) == ("an unfinished run", False, [])
    assert report.facts["steps"] == 2
    newest = unfinished / "state" / "step-2"
    assert inspect(newest).parameters == report.parameters > 0
    (newest / "weights.safetensors").write_bytes(b"cut")
    report = inspect(unfinished)
    assert report.facts["newest state"] == "step-1"
    assert report.problems == [f"{newest} is not whole"]


def test_a_prepared_corpus_and_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("".join(f"week {k} was good in Rome.\n\n" for k in range(30)))
    (tmp_path / "recipe.yaml").write_text(
        f"encoder: {{hidden_size: 32, layers: 1, heads: 2, vocab: {tmp_path / 'vocab'}}}\n"
        f"tasks: {{mlm: {{type: mlm, data: {tmp_path / 'texts.txt'}}}}}\n"
    )
    run = CliRunner().invoke
    assert run(app, ["vocab", "build", str(tmp_path / "texts.txt"), "--out", str(tmp_path / "vocab")]).exit_code == 0
    assert inspect(tmp_path / "vocab").kind == "a vocabulary"
    assert run(app, ["prepare", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "corpus")]).exit_code == 0
    report = inspect(tmp_path / "corpus")
    assert (report.kind, report.ok, report.facts["documents"]) == ("a prepared corpus", True, 30)
    (tmp_path / "corpus" / "index.json").unlink()
    assert "has not finished it" in inspect(tmp_path / "corpus").problems[0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/run", "there is no file or directory"),
        ("recipe.yaml", "try: braid check"),
        ("train.jsonl", "no file of weights"),
        ("bert_model.ckpt.index", "TensorFlow"),
        (".", "is nothing that Braid knows"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, path: str, message: str) -> None:
    for name in ("recipe.yaml", "train.jsonl", "bert_model.ckpt.index"):
        (tmp_path / name).write_text("x")
    with pytest.raises(BraidError, match=message):
        inspect(tmp_path / path)


def test_json_says_the_same(trained: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(trained), "--json"])
    content: dict[str, Any] = json.loads(done.output)
    report = inspect(trained)
    assert content["ok"] is True
    assert content["parameters"] == report.parameters
    assert content["tensors"]["tasks/mood/" + next(iter(load_file(trained / "tasks/mood/head.safetensors")))]
