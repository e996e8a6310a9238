"""`braid nearest`: neighbours of words by the table, and by hidden states in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.data.vocabularies import train
from braid.errors import BraidError
from braid.predict.model import Model
from braid.predict.nearest import by_table, known_words, vocabulary_words

WORDS = ["the", "cats", "catch", "mice", "running", "walker", "walked", "我们", "喜欢", "北京"]


@pytest.fixture(scope="module")
def minilm_model(request: pytest.FixtureRequest) -> Model:
    return braid.load(request.getfixturevalue("minilm"), precision="fp32")


def nearest(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["nearest", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "character", "word"])
def test_candidates_are_tokens_that_are_words_by_themselves(kind: Any) -> None:
    lines = [" ".join(WORDS), " ".join(reversed(WORDS))] * 9
    tokenizer = train(kind, lambda: lines, size=400, lowercase=True)
    found = vocabulary_words(tokenizer)
    assert "[CLS]" not in found
    assert not any(name.startswith(("##", "Ġ", "▁")) for name in found)
    assert ("cat" in found) == (kind not in ("character", "word"))
    assert all(name in WORDS for name in found) == (kind == "word")
    assert all(len(name) == 1 for name in found) == (kind == "character")
    for name, number in found.items():
        given = tokenizer.encode_ids([name if kind != "bpe" or ord(name[0]) > 0x2E80 else f" {name}"])[0]
        assert given.tolist() == [number]


def test_neighbours_are_by_the_cosine_of_the_table() -> None:
    tokenizer = train("word", lambda: ["red green blue"] * 3, size=20, lowercase=True)
    table = np.zeros((tokenizer.vocab_size, 2), np.float32)
    for name, row in {"red": [1, 0], "green": [3, 3], "blue": [-1, 0]}.items():
        table[tokenizer.rust.token_to_id(name)] = row
    found = by_table(["red"], tokenizer, table, candidates=None, top=5)[0]
    assert [one.word for one in found.neighbours] == ["green", "blue"]
    assert [one.cosine for one in found.neighbours] == pytest.approx([0.5**0.5, -1])
    # A word of several pieces is their mean: (1, 0) and (3, 3) are (2, 1.5).
    several = by_table(["red green"], tokenizer, table, candidates=["red", "green", "blue"], top=1)[0]
    assert several.neighbours[0].word == "green"
    assert several.neighbours[0].cosine == pytest.approx(10.5 / (2.5 * 18**0.5))


def test_pretrained_words_have_sensible_neighbours(minilm_model: Model) -> None:
    found = {one.word: [n.word for n in one.neighbours] for one in minilm_model.nearest(["king", "paris"], top=5)}
    assert {"queen", "prince"} <= set(found["king"])
    assert {"france", "london"} <= set(found["paris"])


def test_the_sentence_decides_what_is_near(minilm_model: Model) -> None:
    listed = ["river", "shore", "money", "loan", "cat", "account"]
    river, money = minilm_model.nearest(
        [("He sat on the bank of the river.", "bank"), ("She got a loan from the bank.", "bank")],
        candidates=listed,
        top=6,
    )
    assert (river.start, money.start) == (14, 24)
    by = [{one.word: one.cosine for one in found.neighbours} for found in (river, money)]
    assert by[0]["shore"] > by[1]["shore"]
    assert by[1]["money"] > by[0]["money"]
    assert river.neighbours[0].cosine == max(by[0].values())


def test_candidates_that_are_unknown_are_left_out(minilm_model: Model) -> None:
    names, left_out = known_words(["[CLS]", "river", "☃☃", "river", " ", "bank"], minilm_model.tokenizer)
    assert (names, left_out) == (["river", "bank"], 1)
    for given in (["bank"], [("the bank", "bank")]):
        found = minilm_model.nearest(given, candidates=["☃", "river"])[0]  # type: ignore[arg-type]
        assert [one.word for one in found.neighbours] == ["river"]
        with pytest.raises(BraidError, match="knows none of the candidates"):
            minilm_model.nearest(given, candidates=["☃"])  # type: ignore[arg-type]


def test_a_word_in_its_own_place_is_itself(minilm_model: Model) -> None:
    # Letter case is folded away, so this candidate becomes the very same sentence.
    found = minilm_model.nearest([("He sat on the bank.", "bank")], candidates=["Bank", "cat"], top=2)[0]
    assert found.neighbours[0].word == "Bank"
    assert found.neighbours[0].cosine == pytest.approx(1, abs=1e-5)


def test_a_layer_of_its_own(minilm_model: Model) -> None:
    first, last = (
        minilm_model.nearest([("The cat ran.", "cat")], candidates=["dog"], layer=layer)[0].neighbours[0].cosine
        for layer in (0, -1)
    )
    assert first != last
    with pytest.raises(BraidError, match="layer 7: there are 6 layers"):
        minilm_model.nearest([("The cat ran.", "cat")], candidates=["dog"], layer=7)


def test_words_that_cannot_be_are_named(minilm_model: Model) -> None:
    with pytest.raises(BraidError, match=r"vocabulary of 30,522 tokens has no piece of '☃'"):
        minilm_model.nearest(["king", "☃"])
    with pytest.raises(BraidError, match=r"'dog' does not stand in 'The cat ran\.'"):
        minilm_model.nearest([("The cat ran.", "dog")])
    with pytest.raises(BraidError, match=r"'an' is no word of its own in 'The bank\.': its tokens are \[CLS\] the"):
        minilm_model.nearest([("The bank.", "an")])
    with pytest.raises(BraidError, match="either words or"):
        minilm_model.nearest(["cat", ("The cat ran.", "cat")])  # type: ignore[list-item]
    assert minilm_model.nearest([]) == []


def test_the_command_prints_tables_and_json(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("queen\ncar\nnew york\n")
    done = nearest(minilm, "king", "truck", "--candidates", tmp_path / "words.txt", "--top", 2)
    assert done.exit_code == 0, done.output
    rows = [line.split("│") for line in done.output.splitlines() if "│" in line]
    assert [cell.split()[0] for cell in rows[0][2:4]] == ["queen", "car"]
    (tmp_path / "pairs.tsv").write_text("The king spoke.\tking\nA truck came.\ttruck\n")
    done = nearest(
        minilm, "--contexts", tmp_path / "pairs.tsv", "--candidates", tmp_path / "words.txt", "--top", 1, "--json"
    )
    found = [json.loads(line) for line in done.output.splitlines()]
    assert [(row["word"], row["text"], row["start"]) for row in found] == [
        ("king", "The king spoke.", 4),
        ("truck", "A truck came.", 2),
    ]
    assert [row["neighbours"][0]["word"] for row in found] == ["queen", "car"]
    done = nearest(minilm, "king", "--in", "The king spoke.", "--candidates", tmp_path / "words.txt")
    assert "The king spoke." in done.output


def test_wrong_files_are_named(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("The king spoke.\tqueen\nno tab\n")
    failed = nearest(minilm, "--contexts", tmp_path / "pairs.tsv")
    assert "pairs.tsv:1: the word does not stand in the sentence" in str(failed.exception)
    assert "pairs.tsv:2: not a sentence, a tab, and a word" in str(failed.exception)
    failed = nearest(minilm, "king", "--contexts", tmp_path / "pairs.tsv")
    assert "--contexts brings its own" in str(failed.exception)
    (tmp_path / "empty.txt").write_text("\n")
    failed = nearest(minilm, "king", "--candidates", tmp_path / "empty.txt")
    assert "there is no word in it" in str(failed.exception)


def test_without_any_word_it_says_so() -> None:
    failed = CliRunner().invoke(app, ["nearest", "a_run"], input="\n")
    assert isinstance(failed.exception, BraidError)
    assert "there is no word" in str(failed.exception)
