"""`braid vocab build`: from files to a tokenizer that recipes and transformers read."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from braid.cli import app
from braid.data.progress import counting
from braid.data.vocabularies import tokenizer_from_vocab
from braid.errors import BraidError
from braid.tools import vocab as tool
from braid.tools.vocab import build_vocab

TEXT = "the cat sat on the mat\nthe dog ran to the cat\n" * 20
KINDS = ["wordpiece", "bpe", "unigram", "character", "word"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("a zebra slept\n" * 5)
    return path


def vocab(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["vocab", "build", *map(str, arguments)], catch_exceptions=True)


def words_of(folder: Path) -> set[str]:
    return set(tokenizer_from_vocab(folder).rust.get_vocab())


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_is_built_and_read_again(kind: Any, corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "vocab"
    size = 300 if kind == "bpe" else 50
    built = build_vocab([str(corpus)], out, kind=kind, size=size)
    assert (built.documents, built.unknown) == (40, 0)
    assert built.size <= size
    spelt = "".join(built.tokens).replace("##", "").replace("▁", "").replace(" ", "")
    assert spelt in TEXT.replace(" ", "").replace("\n", "")
    again = tokenizer_from_vocab(out)
    assert again.sha256 == built.tokenizer.sha256
    assert len(AutoTokenizer.from_pretrained(str(out))) == built.size
    listed = out / "vocab.txt"
    assert listed.is_file() == (kind in ("wordpiece", "character", "word"))
    if listed.is_file():
        names = again.tokens(range(again.vocab_size))
        assert listed.read_text(encoding="utf-8").splitlines() == names


def test_a_recipe_reads_what_was_built(corpus: Path, tmp_path: Path) -> None:
    from braid.config.recipe import Recipe
    from braid.run.build import build_tokenizer

    build_vocab([str(corpus)], tmp_path / "v", kind="word", size=40)
    task = {"type": "classification", "data": {"train": str(corpus)}}
    for encoder in ({"vocab": str(tmp_path / "v")}, {"vocab": str(tmp_path / "v" / "vocab.txt"), "vocab_type": "word"}):
        recipe = Recipe.model_validate({"name": "x", "encoder": {"type": "bert", **encoder}, "tasks": {"t": task}})
        tokenizer, directory = build_tokenizer(recipe, None)  # type: ignore[arg-type]
        assert directory is None
        assert tokenizer.tokens(tokenizer.encode_ids(["the cat"])[0].tolist()) == ["the", "cat"]


def test_patterns_and_compressed_files(corpus: Path, tmp_path: Path) -> None:
    pattern = str(tmp_path / "*.txt*")
    build_vocab([pattern], tmp_path / "v", kind="word", size=40)
    assert {"cat", "zebra"} <= words_of(tmp_path / "v")
    build_vocab([pattern], tmp_path / "w", kind="word", size=40, min_frequency=6)
    assert "zebra" not in words_of(tmp_path / "w")


def test_a_column_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"body": f"word{k % 3}", "other": "no"}) + "\n" for k in range(9)))
    build_vocab([str(path)], tmp_path / "v", kind="word", size=40, column="body")
    assert {"word0", "word1", "word2"} <= words_of(tmp_path / "v")
    assert "no" not in words_of(tmp_path / "v")


def test_no_more_documents_are_read_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"word{k}\n" for k in range(9)), encoding="utf-8")
    built = build_vocab([str(path)], tmp_path / "v", kind="word", size=40, limit=2, min_frequency=1)
    assert built.documents == 2
    assert built.size == 5 + 2


def test_the_share_of_unknown_tokens_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a a a rare\n", encoding="utf-8")
    built = build_vocab([str(path)], tmp_path / "v", kind="word", size=40)
    assert (built.unknown, built.characters) == (0.25, 10 / 4)
    assert built.tokens == ("a", "a", "a", "[UNK]")


@pytest.mark.parametrize("kind", KINDS)
def test_too_small_a_size_is_told_before_anything_is_written(kind: Any, corpus: Path, tmp_path: Path) -> None:
    size = 5 if kind in ("word", "character") else 12
    with pytest.raises(
        BraidError, match=r"no room beside|12 tokens is too small: special tokens and (bytes|characters)"
    ):
        build_vocab([str(corpus)], tmp_path / "v", kind=kind, size=size)
    assert not (tmp_path / "v").exists()


def test_mistakes_are_named_and_nothing_is_lost(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    with pytest.raises(BraidError, match=r"no file '.*nothing\.txt'"):
        build_vocab([str(tmp_path / "nothing.txt"), str(corpus)], out)
    with pytest.raises(BraidError, match="is a directory; name its files"):
        build_vocab([str(tmp_path)], out)
    build_vocab([str(corpus)], out, kind="word", size=40)
    with pytest.raises(BraidError, match="--overwrite"):
        build_vocab([str(corpus)], out)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BraidError, match="no text"):
        build_vocab([str(tmp_path / "empty.txt")], out, overwrite=True)
    assert (out / "tokenizer.json").is_file()
    build_vocab([str(corpus)], out, kind="character", size=40, overwrite=True)
    assert "zebra" not in words_of(out)
    with pytest.raises(BraidError, match="holds a vocabulary only"):
        build_vocab([str(corpus)], tmp_path, overwrite=True)
    assert corpus.is_file()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes("好的".encode("gb18030") * 9)
    with pytest.raises(BraidError, match=r"bad\.txt:1: .*looks like GB18030"):
        build_vocab([str(path)], tmp_path / "v")


def test_the_command_prints_what_it_made(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    done = vocab(corpus, "--out", out, "--type", "word", "--size", 40)
    assert done.exit_code == 0, done.output
    assert "a word vocabulary of 13 tokens from 40 documents" in done.output
    assert "characters a token, 0.00% of tokens unknown" in done.output
    assert "for example: the" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--type", "wrd"], "did you mean 'word'"),
        (["--size", 3], "no room"),
    ],
)
def test_mistakes_on_the_command_line_are_ours_to_name(
    options: list[Any], message: str, corpus: Path, tmp_path: Path
) -> None:
    failed = vocab(corpus, "--out", tmp_path / "v", *options)
    assert isinstance(failed.exception, BraidError)
    assert message in str(failed.exception)


def test_a_terminal_sees_what_is_done(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(tool, "counting", lambda: counting(screen))
    build_vocab([str(corpus)], tmp_path / "v", size=60)
    assert "training" in screen.file.getvalue()  # type: ignore[attr-defined]
