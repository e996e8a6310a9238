"""`braid vocab diff`: what two vocabularies share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braid.cli import app
from braid.data.vocabularies import train
from braid.errors import BraidError
from braid.tools.vocab_diff import diff_vocab, read_vocabulary


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("[PAD]\nred\ngreen\nblue\nred\n", encoding="utf-8")
    second.write_text("[PAD]\nblue\nred\n白\n", encoding="utf-8")
    return first, second


def test_sizes_shares_and_moves_of_two_lists(lists: tuple[Path, Path]) -> None:
    found = diff_vocab(*lists)
    assert found.both == ("[PAD]", "red", "blue")
    assert found.only_first == ("green",)
    assert found.only_second == ("白",)
    assert found.moved == 2
    assert (found.first.kind, found.first.repeated, found.second.repeated) == ("list", 1, 0)


def test_directories_and_files_of_one_vocabulary_are_equal(tmp_path: Path) -> None:
    tokenizer = train("wordpiece", lambda: ["red green blue blues"], size=40, lowercase=True)
    tokenizer.save(tmp_path / "run" / "encoder")
    (tmp_path / "run" / "encoder" / "config.json").write_text("{}")
    tokenizer.save(tmp_path / "plain")
    (tmp_path / "vocab.txt").write_text("\n".join(tokenizer.tokens(range(tokenizer.vocab_size))), encoding="utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps(tokenizer.rust.get_vocab()), encoding="utf-8")
    for other in ("plain", "plain/tokenizer.json", "vocab.txt", "vocab.json"):
        found = diff_vocab(tmp_path / "run", tmp_path / other)
        assert (len(found.both), found.only_first, found.only_second, found.moved) == (tokenizer.vocab_size, (), (), 0)
    assert read_vocabulary(tmp_path / "plain").kind == "WordPiece"


def test_what_holds_no_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(BraidError, match="there is no vocabulary"):
        read_vocabulary(tmp_path / "none.txt")
    with pytest.raises(BraidError, match="no usable tokenizer"):
        read_vocabulary(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BraidError, match="there is no token in it"):
        read_vocabulary(tmp_path / "empty.txt")
    (tmp_path / "vocab.json").write_text("[1]")
    with pytest.raises(BraidError, match="no mapping of tokens"):
        read_vocabulary(tmp_path / "vocab.json")


def test_the_command_prints_a_table_and_json(lists: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["vocab", "diff", *map(str, lists)])
    assert done.exit_code == 0, done.output
    assert "list, 4 tokens, 1 lines repeat others" in done.output
    assert "75.0%" in done.output
    assert "2 of those in both have another id in B" in done.output
    done = CliRunner().invoke(app, ["vocab", "diff", *map(str, lists), "--json", "--samples", "1"])
    assert json.loads(done.output)["counts"] == {"both": 3, "only_first": 1, "only_second": 1, "moved": 2}
    assert json.loads(done.output)["tokens"]["both"] == ["[PAD]"]
