"""Tagged and segmented text: conll, conllu, uer_ner, segmented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braid.data.sources.base import Source
from braid.data.sources.conll import Conll, Conllu, bio
from braid.data.sources.segmented import Segmented
from braid.data.sources.uer_ner import UerNer
from braid.errors import DataError


def write(path: Path, content: str) -> str:
    path.write_bytes(content.encode())
    return str(path)


def found(source: Source) -> list[tuple[int, dict[str | int, Any]]]:
    return [(row.line, row.fields) for row in source.rows("train")]


def error(source: Source) -> str:
    with pytest.raises(DataError) as caught:
        found(source)
    return str(caught.value)


def test_conll_columns_by_number_and_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.conll", "\n-DOCSTART- -X- O\n\nEU NNP  B-ORG\n# , O\n\t\n\nlast NN O")
    first = {"words": ["EU", "#"], "label": ["B-ORG", "O"]}
    first |= {0: ["EU", "#"], 1: ["NNP", ","], 2: ["B-ORG", "O"], -1: ["B-ORG", "O"]}  # type: ignore[dict-item]
    [one, two] = found(Conll(path=path))
    assert one == (4, first)
    assert (two[0], two[1]["words"]) == (8, ["last"])


def test_conll_separators(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "\u3000\tO\nNew York\tB\n")
    assert found(Conll(path=path))[0][1][0] == ["\u3000", "New York"]
    message = error(Conll(path=path, separator="space"))
    assert f"{path}:2: found 3 columns, expected 2 as in line 1" in message


def test_conll_comments_are_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "# id 1\na O\n")
    assert found(Conll(path=path, comments=True))[0][1]["words"] == ["a"]
    assert "found 2 columns, expected 3" in error(Conll(path=path))


def test_conll_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "1 Hi UH\n2 you PRP\n")
    [(_, row)] = found(Conll(path=path, columns_named=["id", "form", "pos"]))
    assert row["form"] == row["words"] == row[1] == ["Hi", "you"]
    assert row["pos"] == ["UH", "PRP"]
    assert "label" not in row
    assert "has 4 names" in error(Conll(path=path, columns_named=["a", "b", "c", "d"]))


def test_an_empty_token_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "a\tO\n\tO\n")
    assert f"{path}:2: the token is empty" in error(Conll(path=path))


def test_iob1_becomes_bio_in_tag_columns_only(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "I-beams NNS I-NP I-ORG\nx NN I-NP I-ORG\ny NN B-NP B-ORG\nz . O I-PER\n")
    [(_, row)] = found(Conll(path=path, scheme="iob1"))
    assert row["words"][0] == "I-beams"
    assert row[2] == ["B-NP", "I-NP", "B-NP", "O"]
    assert row["label"] == ["B-ORG", "I-ORG", "B-ORG", "B-PER"]
    assert bio(["I-A", "O", "I-A", "I-B", "B-B", "I-B"]) == ["B-A", "O", "B-A", "B-B", "B-B", "I-B"]


def test_word_positions_become_a_segmentation(tmp_path: Path) -> None:
    tokens = ["北0", "京1", "50", "很0", "大1", "的2", "510", "😀0"]
    path = write(tmp_path / "x", "".join(f"{token}\tO\n" for token in tokens))
    [(_, row)] = found(Conll(path=path, word_position=True))
    assert row["words"] == row[0] == ["北", "京", "5", "很", "大", "的", "5", "😀"]
    assert row["segmentation"] == ["B", "E", "S", "B", "M", "M", "E", "S"]
    path = write(tmp_path / "y", "北\tO\n")
    assert ":1: '北' does not end in its position" in error(Conll(path=path, word_position=True))


def conllu(*tokens: tuple[str, str, str, str]) -> str:
    lines = [f"{i}\t{form}\t_\t{pos}\t_\t_\t{head}\tdep\t_\t_" for i, form, pos, head in tokens]
    return "\n".join(lines) + "\n\n"


def test_conllu_words_are_the_syntactic_ones(tmp_path: Path) -> None:
    tokens = [("1-2", "don't", "_", "_"), ("1", "do", "AUX", "0"), ("2", "n't", "PART", "1"), ("2.1", "x", "_", "_")]
    path = write(tmp_path / "x.conllu", "# sent_id = 1\n# text = don't = #1\n" + conllu(*tokens) + conllu(tokens[1]))
    [(line, row), (_, second)] = found(Conllu(path=path))
    assert line == 3
    assert row["text"] == "don't = #1"
    assert row["words"] == row["form"] == row[1] == ["do", "n't"]
    assert row["upos"] == ["AUX", "PART"]
    assert row["head"] == [0, 1]
    assert row["dependencies"] == {"heads": [0, 1], "relations": ["dep", "dep"]}
    assert "text" not in second


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (conllu(("1", "a", "X", "0"), ("3", "b", "X", "1")), ":2: the word's id is '3', expected 2"),
        (conllu(("1", "a", "X", "7")), ":1: the head '7' is no number from 0 to 1"),
        (conllu(("1", "", "X", "0")), ":1: the word's form is empty"),
        ("a b\n", "expected the 10 of CoNLL-U"),
    ],
)
def test_broken_conllu(tmp_path: Path, content: str, part: str) -> None:
    assert part in error(Conllu(path=write(tmp_path / "x", content)))


def test_uer_ner(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "text_a\tlabel\n海 钓\tO O\n北 京\tB-LOC I-LOC\n")
    assert found(UerNer(path=path)) == [
        (2, {"words": ["海", "钓"], "label": ["O", "O"]}),
        (3, {"words": ["北", "京"], "label": ["B-LOC", "I-LOC"]}),
    ]
    assert found(UerNer(path=write(tmp_path / "y", "text_a\n海 钓\n"))) == [(2, {"words": ["海", "钓"]})]
    assert found(UerNer(path=write(tmp_path / "z", "海 钓\tO O\n"), header=False))[0][1]["label"] == ["O", "O"]


def test_uer_ner_counts_must_agree(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "text_a\tlabel\n海 钓\tO\n")
    assert f"{path}:2: 2 tokens but 1 tags" in error(UerNer(path=path))
    assert "no column 'text_a', only '海 钓', 'O O'" in error(UerNer(path=write(tmp_path / "y", "海 钓\tO O\n" * 2)))


def test_segmented_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "扬帆  远东 做\u3000合作者 \n\n \n")
    [(line, row)] = found(Segmented(path=path))
    assert line == 1
    assert row["text"] == "扬帆远东做合作者"
    assert row["words"] == list(row["text"])
    assert row["label"] == ["B", "E", "B", "E", "S", "B", "M", "E"]
