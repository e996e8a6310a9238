"""`braid embed` and `braid embeddings`: hidden states of any layer to files, whitened by option."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.data.example import Example
from braid.data.packing import pack_ids
from braid.data.vocabularies import train
from braid.errors import BraidError
from braid.predict import features
from braid.predict.embed import FeatureOptions, embed_to
from braid.predict.embeddings import escape, write_table
from braid.predict.model import Model
from braid.predict.whitening import Moments, Whitening

TEXTS = ["the cat sat", "a dog", "the dog ran to the cat on the mat", "mat", "", "cat dog mat ran sat the"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bare")
    tokenizer = train("wordpiece", lambda: TEXTS * 5, size=60, lowercase=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(bare: Path) -> Model:
    return braid.load(bare, precision="fp32")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["embed", *map(str, arguments)])


def states(model: Model, text: str) -> tuple[torch.Tensor, ...]:
    """Every layer's hidden states of one text alone, special tokens included."""
    template, ids = model.tokenizer.template, model.tokenizer.encode_ids([text])[0]
    batch = pack_ids([[*template.prefix.tolist(), *ids.tolist(), *template.suffix.tolist()]])
    with torch.inference_mode():
        return model.network.encoder(batch)[1]


@pytest.mark.parametrize("layer", [0, 1, -2, -1])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "weighted"])
def test_any_layer_is_pooled_in_any_way(layer: int, pooling: Any, model: Model) -> None:
    found = model.embed(TEXTS, layer=layer, pooling=pooling)
    for text, vector in zip(TEXTS, found, strict=True):
        hidden = states(model, text)[layer]
        weight = torch.arange(1.0, len(hidden) + 1)[:, None]
        wanted = {
            "cls": hidden[0],
            "mean": hidden.mean(0),
            "max": hidden.max(0).values,
            "weighted": (hidden * weight).sum(0) / weight.sum(),
        }[pooling]
        np.testing.assert_allclose(vector, wanted.numpy(), atol=1e-5)


def test_without_options_it_is_the_mean_of_the_last_layer(model: Model) -> None:
    np.testing.assert_array_equal(model.embed(TEXTS), model.embed(TEXTS, layer=3, pooling="mean"))
    assert model.embed([]).shape == (0, 12)


def test_tokens_carry_their_place_in_the_text(model: Model) -> None:
    found = list(model.embed_tokens(["The  CAT sat", ""], layer=2))
    assert found[0].tokens == ("the", "cat", "sat")
    assert [("The  CAT sat"[a:b]) for a, b in found[0].offsets.tolist()] == ["The", "CAT", "sat"]
    np.testing.assert_allclose(found[0].vectors, states(model, "the cat sat")[2][1:-1].numpy(), atol=1e-5)
    assert found[1].tokens == ()
    assert found[1].vectors.shape == (0, 12)


def test_unknown_tokens_of_a_text_are_tokens_too(model: Model) -> None:
    assert next(model.embed_tokens(["the ☃ cat"])).tokens == ("the", "[UNK]", "cat")


@pytest.mark.parametrize("suffix", ["npy", "parquet", "jsonl"])
def test_files_hold_what_python_returns(suffix: str, bare: Path, texts: Path, tmp_path: Path, model: Model) -> None:
    out = tmp_path / f"f.{suffix}"
    done = run(bare, texts, "-o", out, "--layer", 1, "--pooling", "max")
    assert done.exit_code == 0, done.output
    assert "6 texts, 12 numbers each (max of layer 1)" in done.output
    wanted = model.embed(TEXTS, layer=1, pooling="max")
    if suffix == "npy":
        found, names = np.load(out), TEXTS
    elif suffix == "parquet":
        table = pq.read_table(out)
        found, names = np.array(table["vector"].to_pylist()), table["text"].to_pylist()
    else:
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        found, names = np.array([row["vector"] for row in rows]), [row["text"] for row in rows]
    assert names == TEXTS
    # The command's precision is this machine's.
    np.testing.assert_allclose(found, wanted, atol=3e-2)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", ["npy", "parquet", "jsonl"])
def test_files_of_tokens(suffix: str, texts: Path, tmp_path: Path, model: Model) -> None:
    out = tmp_path / f"f.{suffix}"
    done = embed_to(model.reader, "x", map(Example, TEXTS), out, FeatureOptions(tokens=True, layer=-2))
    wanted = list(model.embed_tokens(TEXTS, layer=-2))
    assert (done.texts, done.vectors) == (6, sum(len(one.tokens) for one in wanted))
    if suffix == "npy":
        bounds, flat = np.load(tmp_path / "f.offsets.npy"), np.load(out)
        found = [flat[a:b] for a, b in pairwise(bounds)]
    elif suffix == "parquet":
        table = pq.read_table(out)
        found = table["vectors"].to_pylist()
        assert table["tokens"].to_pylist() == [list(one.tokens) for one in wanted]
        assert table["starts"].to_pylist() == [one.offsets[:, 0].tolist() for one in wanted]
    else:
        rows = [json.loads(line)["tokens"] for line in out.read_text(encoding="utf-8").splitlines()]
        found = [[token["vector"] for token in row] for row in rows]
        assert [[token["token"] for token in row] for row in rows] == [list(one.tokens) for one in wanted]
    for vectors, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.array(vectors).reshape(-1, 12), one.vectors, atol=1e-5)


def test_texts_are_streamed_in_small_parts(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "CHUNK", 10)
    held: list[int] = []
    done: list[int] = []

    def endless() -> Any:
        for number in range(95):
            held.append(number + 1 - (done[-1] if done else 0))
            yield Example(TEXTS[number % 6])

    def told(doing: str, texts: int, total: int | None) -> None:
        done.append(texts)

    pooled = features.pooled
    monkeypatch.setattr("braid.predict.features.pooled", lambda *given: pooled(*given, chunk=10))
    found = embed_to(model.reader, "x", endless(), tmp_path / "f.npy", FeatureOptions(), told=told)
    assert found.texts == 95
    assert max(held) <= 21
    assert np.load(tmp_path / "f.npy").shape == (95, 12)


def test_cut_texts_are_counted(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("cat\n" + "the cat " * 20 + "\n")
    done = run(bare, tmp_path / "t.txt", "-o", tmp_path / "f.npy")
    assert "1 texts were longer than 16 tokens and lost their end" in done.output


def vectors_of(n: int, size: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) + 3).astype(np.float32)


def test_whitened_features_have_no_mean_and_unit_covariance() -> None:
    vectors = vectors_of(500)
    moments = Moments(6, None)
    for part in np.array_split(vectors, 7):
        moments.add(part)
    white = moments.whitening(of={})(vectors)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-3)


def test_fewer_dimensions_are_those_of_most_variance_as_in_the_paper() -> None:
    vectors = vectors_of(300)
    moments = Moments(6, 2)
    moments.add(vectors)
    found = moments.whitening(of={})(vectors)
    # Algorithm 1 of the paper: u, s, vt = svd(cov); W = u / sqrt(s); W[:, :k].
    u, s, _ = np.linalg.svd(np.cov(vectors.T.astype(np.float64), bias=True))
    wanted = (vectors - vectors.mean(0)) @ (u / np.sqrt(s))[:, :2]
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-4)


def test_whitening_needs_as_many_directions_as_it_is_to_give() -> None:
    moments = Moments(6, None)
    moments.add(vectors_of(4))
    with pytest.raises(BraidError, match="whitening to 6 dimensions: the 4 texts vary in 3 only"):
        moments.whitening(of={})
    flat = Moments(6, 5)
    flat.add(np.repeat(vectors_of(50)[:, :2], 3, axis=1))
    with pytest.raises(BraidError, match="vary in 2 only"):
        flat.whitening(of={})
    with pytest.raises(BraidError, match="whitening to 7 dimensions: the features have 6"):
        Moments(6, 7)


def test_a_whitening_is_saved_used_again_and_refused_for_other_features(
    bare: Path, tmp_path: Path, model: Model
) -> None:
    (tmp_path / "t.txt").write_text(
        "".join(f"{a} {b}\n" for a in ["the", "cat", "dog", "mat"] for b in ["ran", "sat", "to"])
    )
    first = run(bare, tmp_path / "t.txt", "-o", tmp_path / "a.npy", "--whiten", 3)
    assert first.exit_code == 0, first.output
    saved = tmp_path / "a.whitening.safetensors"
    again = run(bare, tmp_path / "t.txt", "-o", tmp_path / "b.npy", "--whitening", saved)
    assert again.exit_code == 0, again.output
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    fitted = run(bare, "-", "-o", tmp_path / "c.jsonl", "--whiten", 3, "--whiten-on", tmp_path / "t.txt")
    assert "there is no text to embed" in str(fitted.exception)
    lines = (tmp_path / "t.txt").read_text().splitlines()
    np.testing.assert_allclose(
        model.embed(lines, whitening=Whitening.load(saved)), np.load(tmp_path / "a.npy"), atol=0.2
    )
    other = run(bare, tmp_path / "t.txt", "-o", tmp_path / "d.npy", "--layer", 1, "--whitening", saved)
    assert "'mean of layer 3', here 'mean of layer 1'" in str(other.exception)
    assert not (tmp_path / "d.npy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "f.txt"], "its suffix '.txt' must be one of .npy, .parquet, .jsonl"),
        (["-o", "no/f.npy"], "there is no folder"),
        (["-o", "f.npy", "--layer", "4"], "layer 4: there are 3 layers"),
        (["-o", "f.npy", "--layer", "-5"], "-4 the embeddings again"),
        (["-o", "f.npy", "--pooling", "men"], "did you mean 'mean'"),
        (["-o", "f.npy", "--pooling", "attention"], "pooling 'attention'"),
        (["-o", "f.npy", "--task", "sts"], "task 'sts' makes no embeddings; those that do: none"),
        (["-o", "f.npy", "--tokens", "--pooling", "cls"], "--tokens gives every token"),
        (["-o", "f.npy", "--tokens", "--whiten", "3"], "does not go with --tokens"),
        (["-o", "f.npy", "--whiten", "many"], "give a number of dimensions, or full"),
        (["-o", "f.npy", "--whiten", "99"], "the features have 12"),
        (["-o", "f.npy", "--whiten-on", "x.txt"], "give --whiten too"),
        (["-o", "f.npy", "--whitening", "x.safetensors"], "there is no whitening"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    options: list[str], message: str, bare: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.npy").write_text("mine")
    failed = run(bare, texts, *options)
    assert isinstance(failed.exception, BraidError)
    assert message in str(failed.exception)
    assert (tmp_path / "f.npy").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "texts.txt"]


def test_the_table_of_tokens_is_what_gensim_reads(bare: Path, tmp_path: Path, model: Model) -> None:
    done = CliRunner().invoke(app, ["embeddings", str(bare), "-o", str(tmp_path / "t.w2v")])
    assert done.exit_code == 0, done.output
    names = model.tokenizer.tokens(range(model.tokenizer.vocab_size))
    table = model.network.encoder.word_embeddings.detach().numpy()
    lines = (tmp_path / "t.w2v").read_text(encoding="utf-8").split("\n")
    assert lines[0] == f"{len(names)} 12"
    assert [line.split(" ")[0] for line in lines[1:-1]] == names
    np.testing.assert_array_equal(np.array([line.split(" ")[1:] for line in lines[1:-1]], dtype=np.float32), table)
    gensim = pytest.importorskip("gensim.models")
    vectors = gensim.KeyedVectors.load_word2vec_format(str(tmp_path / "t.w2v"))
    assert list(vectors.index_to_key) == names
    np.testing.assert_array_equal(vectors["cat"], table[names.index("cat")])


def test_tokens_with_spaces_are_escaped(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Rust
    from tokenizers import models

    from braid.data.tokens import Tokenizer

    names = ["a b", "\\", "　", "\n", "x", "\\x20"]
    tokenizer = Tokenizer(Rust(models.WordLevel({name: k for k, name in enumerate(names)}, unk_token="x")))
    done = write_table(np.eye(7, 6, dtype=np.float32), tokenizer, tmp_path / "t.w2v")
    assert (done.tokens, done.size, done.escaped) == (6, 6, 5)
    lines = (tmp_path / "t.w2v").read_text(encoding="utf-8").split("\n")
    found = [line.split(" ")[0] for line in lines[1:-1]]
    assert found == ["a\\x20b", "\\x5c", "\\u3000", "\\x0a", "x", "\\x5cx20"]
    assert [re.sub(r"\\(x..|u....)", lambda m: chr(int(m[1][1:], 16)), name) for name in found] == names
    assert escape("中文") == "中文"


def test_the_texts_that_are_read_are_not_overwritten(bare: Path, tmp_path: Path) -> None:
    rows, more = tmp_path / "rows.jsonl", tmp_path / "more.jsonl"
    for path in (rows, more):
        path.write_text('{"text": "a"}\n')
    for command in ([rows, "-o", rows], [rows, "-o", more, "--whiten", "1", "--whiten-on", more]):
        done = CliRunner().invoke(app, ["embed", str(bare), *map(str, command)])
        assert "is the file that is read" in str(done.exception)
    assert rows.read_text() == more.read_text() == '{"text": "a"}\n'
