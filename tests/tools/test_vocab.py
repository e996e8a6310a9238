"""`braid vocab build`: from files to a tokenizer that recipes and transformers read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braid.cli import app
from braid.data.vocabularies import tokenizer_from_vocab
from braid.errors import BraidError
from braid.tools.vocab import build_vocab

TEXT = "the cat sat on the mat\nthe dog ran to the cat\n" * 20


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("a zebra slept\n" * 5)
    return path


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "character", "word"])
def test_a_vocabulary_is_built_and_read_again(kind: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "vocab"
    size = 300 if kind == "bpe" else 40
    built = build_vocab([str(corpus)], out, kind=kind, size=size)  # type: ignore[arg-type]
    assert built.size <= size
    assert built.unknown == 0
    assert built.text == "the cat sat on the mat"
    assert "".join(built.tokens).replace("##", "").replace("▁", "") == "thecatsatonthemat"
    again = tokenizer_from_vocab(out, lowercase=True)
    assert again.sha256 == built.tokenizer.sha256
    assert (out / "vocab.txt").is_file() == (kind in ("wordpiece", "character", "word"))


def test_patterns_and_compressed_files(corpus: Path, tmp_path: Path) -> None:
    built = build_vocab([str(tmp_path / "*.txt*")], tmp_path / "v", kind="word", size=40)
    assert {"cat", "zebra"} <= set(built.tokenizer.rust.get_vocab())
    rare = build_vocab([str(tmp_path / "*.txt*")], tmp_path / "w", kind="word", size=40, min_frequency=6)
    assert "zebra" not in rare.tokenizer.rust.get_vocab()


def test_a_column_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"body": f"word{k % 3}", "other": "no"}) + "\n" for k in range(9)))
    built = build_vocab([str(path)], tmp_path / "v", kind="word", size=40, column="body")
    assert {"word0", "word1", "word2"} <= set(built.tokenizer.rust.get_vocab())
    assert "no" not in built.tokenizer.rust.get_vocab()


def test_mistakes_are_named_and_nothing_is_lost(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    with pytest.raises(BraidError, match=r"no file '.*nothing\.txt'"):
        build_vocab([str(tmp_path / "nothing.txt")], out)
    build_vocab([str(corpus)], out, kind="word", size=40)
    with pytest.raises(BraidError, match="--overwrite"):
        build_vocab([str(corpus)], out)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BraidError, match="no text"):
        build_vocab([str(tmp_path / "empty.txt")], out, overwrite=True)
    assert (out / "tokenizer.json").is_file()


def test_the_command_prints_what_it_made(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    done = CliRunner().invoke(app, ["vocab", "build", str(corpus), "--out", str(out), "--type", "word", "--size", "40"])
    assert done.exit_code == 0, done.output
    assert "characters a token, 0.00% unknown" in done.output
    with pytest.raises(BraidError, match="did you mean 'word'"):
        CliRunner().invoke(app, ["vocab", "build", "x", "--out", "y", "--type", "wrd"], catch_exceptions=False)
