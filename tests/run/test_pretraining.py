"""Pre-training is training: corpora and targets through the whole way, on tiny models."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.config.families import EncoderConfig, TaskConfig
from braid.errors import BraidError, DataError, RecipeError
from braid.run.preparing import prepare
from braid.tasks.text import TextTask
from braid.tools.vocab import build_vocab

ENCODER = {"hidden_size": 32, "layers": 1, "heads": 2, "max_length": 24, "vocab_size": 150}
TRAIN = {"epochs": 2, "lr": 3e-3, "batch_tokens": 512, "precision": "fp32", "log_every": 1000}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rng = random.Random(0)
    who, what, where = ("anna", "bo", "carl"), ("apples", "books", "cups"), ("rome", "oslo", "lima")
    lines = [
        " ".join(f"{rng.choice(who)} sold {rng.choice(what)} in {rng.choice(where)}." for _ in range(4))
        for _ in range(60)
    ]
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe_of(folder: Path, tasks: dict[str, Any], chain: str, **changes: Any) -> braid.Recipe:
    given = {
        "name": "pre",
        "out": str(folder / "run"),
        "cache": str(folder / "cache"),
        "encoder": ENCODER,
        "tasks": tasks,
        "chain": chain,
        "train": TRAIN,
    }
    return braid.Recipe(**{**given, **changes})


def quiet(message: str) -> None:
    return None


def test_bert_pretrains_evaluates_and_fills_blanks(tmp_path: Path, corpus: Path) -> None:
    tasks = {"mlm": {"type": "mlm", "data": {"train": str(corpus), "dev": "10%"}}, "nsp": {"type": "nsp"}}
    said: list[str] = []
    recipe = recipe_of(tmp_path, tasks, "mlm & nsp", train={**TRAIN, "epochs": 30})
    report = braid.check(recipe)
    assert report.ok
    assert report.lengths["mlm & nsp"]["train"]["rows"] > 50
    run = braid.train(recipe, say=said.append)
    scores = run.scores("dev")
    assert list(scores["mlm"]) == ["loss", "perplexity", "accuracy"]
    assert list(scores["nsp"]) == ["loss", "accuracy"]
    assert scores["mlm"]["accuracy"] > 0.3
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    curve = [line["dev"]["mlm"]["loss"] for line in lines if "dev" in line]
    assert curve[-1] < 0.8 * curve[0]
    model = braid.load(run)
    assert model.evaluate("dev")["mlm"] == pytest.approx(scores["mlm"], abs=1e-5)
    filled = model.cloze(["anna [MASK] apples in rome.", "bo sold cups in oslo."], top=3)
    assert filled[0].blanks[0].guesses[0].token == "sold"
    assert filled[0].blanks[0].original is None
    assert len(filled[0].blanks[0].guesses) == 3
    assert filled[1].blanks[0].original is not None
    assert "[MASK]" in filled[1].text
    with pytest.raises(BraidError, match="braid cloze"):
        model("anna")
    assert model.embed(["anna"]).shape == (1, 32)
    with pytest.raises(BraidError, match="`clm` task"):
        model.generate("anna")


def test_a_pretrained_run_is_where_the_next_begins(tmp_path: Path, corpus: Path) -> None:
    tasks = {"mlm": {"type": "mlm", "data": {"train": str(corpus)}}}
    first = braid.train(recipe_of(tmp_path, tasks, "mlm"), say=quiet)
    encoder = {"pretrained": str(first.directory), "max_length": 24}
    rows = [{"text": f"anna sold {k} cups", "mood": ("a", "b")[k % 2]} for k in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tasks["mood"] = {"type": "classification", "data": str(tmp_path / "rows.jsonl")}
    said: list[str] = []
    changes = {"encoder": encoder, "out": str(tmp_path / "next")}
    run = braid.train(recipe_of(tmp_path, tasks, "mlm*0.5 | mood", **changes), say=said.append)
    assert any("mlm" in line and "starts from" in line for line in said)
    assert set(braid.load(run).tasks) == {"mlm", "mood"}
    assert braid.load(run)("anna sold cups")["mood"].label in "ab"


def test_masks_beside_labels(tmp_path: Path) -> None:
    rows = [{"text": f"anna sold {k} cups in rome", "mood": ("a", "b")[k % 2], "tags": ["O"] * 6} for k in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"train": str(tmp_path / "rows.jsonl"), "dev": str(tmp_path / "rows.jsonl")}
    tasks: dict[str, Any] = {"mlm": {"type": "mlm"}, "mood": {"type": "classification", "data": data}}
    run = braid.train(recipe_of(tmp_path, tasks, "mlm & mood"), say=quiet)
    assert {"loss", "perplexity", "accuracy"} == set(run.scores("dev")["mlm"])
    assert "accuracy" in run.scores("dev")["mood"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_corpus_of_the_hub(tmp_path: Path, streaming: bool) -> None:
    """From a local folder of data files, as `datasets` loads it; no file of ours has to be hashed for it."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part in range(2):
        lines = [json.dumps({"text": f"the cat {word} sat on a mat far away"}) for word in "abcdefgh" * 20]
        (folder / f"part{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"train": {"hub": str(folder), "streaming": streaming}, "dev": "10%"}
    run = braid.train(recipe_of(tmp_path, {"mlm": {"type": "mlm", "data": data}}, "mlm"), say=quiet)
    assert run.metrics["dev"]["mlm"]["loss"] > 0
    assert json.loads((run.directory / "environment.json").read_text())["data_sha256"] == {}


def test_a_run_resumes_bitwise(tmp_path: Path, corpus: Path) -> None:
    tasks = {"mlm": {"type": "mlm", "data": {"train": str(corpus)}}, "sop": {"type": "sop"}}
    whole = braid.train(recipe_of(tmp_path, tasks, "mlm & sop"), say=quiet)
    changes = {"out": str(tmp_path / "other"), "train": {**TRAIN, "save_every": 3}}
    other = recipe_of(tmp_path, tasks, "mlm & sop", **changes)

    from braid.training.trainer import Trainer

    step, calls = Trainer._step, []

    def stopping(self: Trainer, *arguments: Any) -> Any:
        done = step(self, *arguments)
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("power cut")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(RuntimeError, match="power cut"):
            braid.train(other, say=quiet)
    resumed = braid.train(other, resume=True, say=quiet)
    for name in ("encoder/model.safetensors", "tasks/mlm/head.safetensors", "tasks/sop/head.safetensors"):
        assert (whole.directory / name).read_bytes() == (resumed.directory / name).read_bytes(), name


def test_gpt_writes_on(tmp_path: Path, corpus: Path) -> None:
    tasks = {"lm": {"type": "clm", "data": {"train": str(corpus), "dev": "10%"}}}
    encoder = {**ENCODER, "type": "gpt", "max_positions": 48}
    run = braid.train(recipe_of(tmp_path, tasks, "lm", encoder=encoder, train={**TRAIN, "epochs": 30}), say=quiet)
    assert list(run.scores("dev")["lm"]) == ["loss", "perplexity", "accuracy", "bits_per_character"]
    model = braid.load(run)
    one, two = model.generate(["anna sold", "bo"], longest=6)
    assert one.prompt == "anna sold"
    assert one.text.split()[0] in ("apples", "books", "cups")
    assert two.text.split()[0] == "sold"
    again = model.generate("anna sold", longest=6)[0]
    assert again.text == one.text
    assert again.score == pytest.approx(one.score, abs=1e-4)
    assert model.generate("anna sold", longest=6, beams=3)[0].score <= 0
    drawn = [model.generate("anna", longest=8, sample=True, seed=seed)[0].text for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    heard: list[str] = []
    model.generate("anna sold", longest=4, told=heard.append)
    assert len(heard) == 4
    assert heard[-1].startswith(heard[0])
    repeated = model.generate("anna sold", longest=20)[0].text.split()
    varied = model.generate("anna sold", longest=20, repetition_penalty=5.0)[0].text.split()
    assert len(set(varied)) >= len(set(repeated))
    with pytest.raises(BraidError, match="fills all"):
        model.generate("anna " * 60)


@pytest.mark.parametrize(
    ("tasks", "chain", "encoder", "message"),
    [
        ({"lm": {"type": "clm"}}, "lm", {}, "none of its tasks has `data.train`"),
        ({"lm": {"type": "clm", "data": "CORPUS"}}, "lm", {}, "sees the tokens that `clm` is to predict"),
        ({"m": {"type": "mlm", "data": "CORPUS"}}, "m", {"type": "gpt"}, "sees only what stands before"),
        ({"n": {"type": "nsp", "data": "CORPUS"}, "s": {"type": "sop"}}, "n & s", {}, "make pairs in different ways"),
        (
            {"m": {"type": "mlm", "data": "CORPUS"}, "x": {"type": "tagging", "data": "ROWS"}},
            "m & x",
            {},
            "has no `data`",
        ),
        ({"m": {"type": "mlm"}, "x": {"type": "dependency", "data": "ROWS"}}, "m & x", {}, "need it as it is"),
        ({"n": {"type": "nsp"}, "x": {"type": "classification", "data": "ROWS"}}, "n & x", {}, "pairs of its own"),
        (
            {"m": {"type": "mlm", "data": "CORPUS", "fill": "full"}, "n": {"type": "nsp"}},
            "m & n",
            {},
            "within documents",
        ),
        ({"n": {"type": "nsp", "data": "SHORT"}}, "n", {}, "fewer than two sentences"),
        ({"m": {"type": "mlm", "data": "EMPTY"}}, "m", {"vocab": "VOCAB"}, "no text in it"),
        ({"m": {"type": "mlm", "data": "CORPUS"}}, "m", {"vocab": "NOMASK"}, r"no \[MASK\]"),
    ],
)
def test_what_cannot_be_trained_says_why(
    tmp_path: Path, corpus: Path, tasks: dict[str, Any], chain: str, encoder: dict[str, Any], message: str
) -> None:
    rows = [{"words": ["a", "b"], "x": ["O", "O"]} for _ in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n", encoding="utf-8")
    (tmp_path / "nomask.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n", encoding="utf-8")
    names = {"CORPUS": corpus, "ROWS": tmp_path / "rows.jsonl", "EMPTY": tmp_path / "empty.txt"}
    names |= {"VOCAB": tmp_path / "vocab.txt", "NOMASK": tmp_path / "nomask.txt", "SHORT": tmp_path / "short.txt"}

    def filled(given: dict[str, Any]) -> dict[str, Any]:
        return {key: str(names.get(value, value)) if isinstance(value, str) else value for key, value in given.items()}

    given = {name: filled(task) for name, task in tasks.items()}
    with pytest.raises((BraidError, DataError, RecipeError), match=message):
        braid.train(recipe_of(tmp_path, given, chain, encoder={**ENCODER, **filled(encoder)}), say=quiet)
    assert not (tmp_path / "run" / "encoder").exists()


def test_shards_are_prepared_on_several_machines_and_listed(tmp_path: Path, corpus: Path) -> None:
    vocabulary = tmp_path / "v"
    build_vocab([str(corpus)], vocabulary, kind="word", size=60)
    encoder = {**ENCODER, "vocab": str(vocabulary)}
    tasks = {"mlm": {"type": "mlm", "data": {"train": str(corpus)}}}
    recipe = recipe_of(tmp_path, tasks, "mlm", encoder=encoder)
    folders = [tmp_path / f"part{k}" for k in (1, 2)]
    for number, folder in enumerate(folders, 1):
        said = list(prepare(recipe, out=folder, shard=f"{number}/2", split="train"))
        assert str(folder) in said[0]
    listed = [{"type": "prepared", "path": str(folder)} for folder in folders]
    run = braid.train(
        recipe_of(tmp_path, {"mlm": {"type": "mlm", "data": {"train": listed}}}, "mlm", encoder=encoder), say=quiet
    )
    whole = braid.train(recipe_of(tmp_path, tasks, "mlm", encoder=encoder, out=str(tmp_path / "whole")), say=quiet)
    assert run.metrics["train"]["tokens"] == whole.metrics["train"]["tokens"]
    with pytest.raises(BraidError, match="give --out"):
        list(prepare(recipe, out=None, shard="1/2", split="train"))
    assert "in " in next(prepare(recipe, out=None, shard="1/1", split="train"))


def test_commands_write_on_and_fill_blanks(tmp_path: Path, corpus: Path) -> None:
    data = {"train": str(corpus)}
    lstm = {"type": "lstm", "hidden_size": 32, "layers": 1, "max_length": 24, "vocab_size": 150}
    gpt = recipe_of(tmp_path, {"lm": {"type": "clm", "data": data}}, "lm", encoder=lstm)
    bert = recipe_of(tmp_path, {"m": {"type": "mlm", "data": data}}, "m", out=str(tmp_path / "bert"))
    runner = CliRunner()
    writes = str(braid.train(gpt, say=quiet).directory)
    done = runner.invoke(app, ["generate", writes, "anna sold", "bo", "--max-tokens", "5"])
    assert done.exit_code == 0, done.output
    assert [line[:2] for line in done.stdout.splitlines()] == ["an", "bo"]
    asked = ["generate", writes, "--json", "--sample", "--top-k", "3", "--seed", "4"]
    row = json.loads(runner.invoke(app, asked, input="carl\n").stdout)
    assert row["whole"].startswith("carl")
    fills = str(braid.train(bert, say=quiet).directory)
    done = runner.invoke(app, ["cloze", fills, "anna [MASK] cups", "--top", "2"])
    assert done.stdout.splitlines()[0] == "anna [MASK] cups"
    assert len(done.stdout.splitlines()[1].split()) == 5
    row = json.loads(runner.invoke(app, ["cloze", fills, "--json"], input="bo sold cups\n").stdout)
    assert row["blanks"][0]["original"] in row["best"] or row["blanks"][0]["original"]


PAIRS = [
    (encoder, target)
    for encoder, targets in {
        "bert": ["mlm", "nsp", "sop"],
        "modernbert": ["mlm", "nsp", "sop"],
        "attn": ["mlm", "nsp", "sop"],
        "synt": ["mlm", "nsp", "sop"],
        "gpt": ["clm", "nsp", "sop"],
        "lstm": ["clm", "nsp", "sop"],
        "gru": ["clm", "nsp", "sop"],
        "bilstm": ["bilm", "mlm", "nsp", "sop"],
        "bigru": ["bilm", "mlm", "nsp", "sop"],
        "cnn": ["mlm", "nsp", "sop"],
        "gatedcnn": ["mlm", "nsp", "sop"],
        "rcnn": ["mlm", "nsp", "sop"],
        "crnn": ["mlm", "nsp", "sop"],
    }.items()
    for target in targets
]


def test_the_pairs_name_every_encoder_and_target() -> None:
    assert {encoder for encoder, _ in PAIRS} | {"hf"} == set(EncoderConfig.variants())
    text = {name for name, variant in TaskConfig.variants().items() if issubclass(variant, TextTask)}
    assert {target for _, target in PAIRS} == text


@pytest.mark.parametrize(("encoder", "target"), PAIRS)
def test_every_encoder_learns_every_target_that_makes_sense(
    encoder: str, target: str, tmp_path: Path, corpus: Path
) -> None:
    sizes = {"hidden_size": 32, "layers": 1, "max_length": 24, "vocab_size": 150, "type": encoder}
    tasks = {"t": {"type": target, "data": str(corpus)}}
    train = {**TRAIN, "epochs": 60, "max_steps": 50, "batch_tokens": 256, "lr": 1e-2}
    run = braid.train(recipe_of(tmp_path, tasks, "t", encoder=sizes, train=train), say=quiet)
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"]["t"] for line in lines if "loss" in line]
    assert run.metrics["train"]["steps"] == 50
    assert all(math.isfinite(loss) for loss in losses)
    if target in ("mlm", "clm", "bilm"):
        assert losses[-1] < 3.9 < math.log(60), "no more than chance"
