"""A task's splits as examples: columns, words, rows left out, shares cut out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braid.config.families import DataConfig
from braid.data.example import Example
from braid.data.examples import SplitRows, read_split
from braid.errors import DataError


def read(split: str = "train", *, task: str = "t", seed: int = 1, **data: Any) -> SplitRows:
    return read_split(DataConfig.model_validate(data), split, task=task, seed=seed)


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def one(tmp_path: Path, row: dict[str, Any], *, task: str = "t", **data: Any) -> Example:
    [example] = read(train=jsonl(tmp_path / "x.jsonl", row), task=task, **data).examples
    return example


def error(**arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(**arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "text", "pair"),
    [
        ({"text": "a"}, "a", None),
        ({"text": "a", "pair": "b"}, "a", "b"),
        ({"text": "a", "pair": None}, "a", None),
        ({"text": "a", "sentence": "no"}, "a", None),
        ({"text_a": "a", "text_b": "b"}, "a", "b"),
        ({"index": 1, "sentence": "a"}, "a", None),
        ({"sentence1": "a", "sentence2": "b", "genre": "g"}, "a", "b"),
        ({"question1": "a", "question2": "b"}, "a", "b"),
        ({"premise": "a", "hypothesis": "b"}, "a", "b"),
        ({"question": "a", "sentence": "b"}, "a", "b"),
        ({"#1 ID": 1, "#1 String": "a", "#2 String": "b"}, "a", "b"),
        ({"content": "a"}, "a", None),
        ({"review": 12.5}, "12.5", None),
        ({"text": 12}, "12", None),
        ({"text": "\ud800"}, "\ud800", None),
        ({"words": ["play", "jazz"]}, "play jazz", None),
        ({"words": ["爱", "A"], "text": "爱  A"}, "爱  A", None),
        ({"words": ["爱", "A"], "text": "something else"}, "爱A", None),
        ({"words": ["爱"], "text": None}, "爱", None),
        ({"tokens": ["a", 1]}, "a 1", None),
        ({"tokens": "no list", "text": "a"}, "a", None),
    ],
)
def test_the_usual_names_are_recognised(tmp_path: Path, row: dict[str, Any], text: str, pair: str | None) -> None:
    example = one(tmp_path, row)
    assert (example.text, example.pair) == (text, pair)


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"label": 0}, {"t": 0}),
        ({"labels": ["a"]}, {"t": ["a"]}),
        ({"score": 3.5}, {"t": 3.5}),
        ({"label": "no", "t": "yes"}, {"t": "yes"}),
        ({"label": None}, {}),
        ({"label": ""}, {}),
        ({"label": []}, {"t": []}),
        ({}, {}),
    ],
)
def test_labels_are_found_and_may_be_missing(tmp_path: Path, row: dict[str, Any], labels: dict[str, Any]) -> None:
    assert one(tmp_path, {"text": "a", **row}).labels == labels


def test_columns_say_what_is_what(tmp_path: Path) -> None:
    row = {"text": "no", "a": "x", "b": "y", "c": 1, "q": 7, "o": ["p", 2]}
    columns = {"text": "a", "pair": "b", "t": "c", "query": "q", "options": "o", "other_task": "nowhere"}
    example = one(tmp_path, row, columns=columns)
    assert (example.text, example.pair, example.labels) == ("x", "y", {"t": 1})
    assert (example.query, example.options) == ("7", ("p", "2"))
    example = one(tmp_path, {"sentence1": "a", "sentence2": "b"}, columns={"text": "sentence2"})
    assert (example.text, example.pair) == ("b", None)


def test_query_and_options_are_native_names(tmp_path: Path) -> None:
    example = one(tmp_path, {"text": "a", "query": "q1", "options": ["x", "y"]})
    assert (example.query, example.options) == ("q1", ("x", "y"))


@pytest.mark.parametrize("place", [3, "3", -1])
def test_columns_without_names_are_numbered(tmp_path: Path, place: int | str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("gj04\t1\t\tOur friends\n")
    data = {"source": {"header": False}, "columns": {"label": 1, "text": place}}
    [example] = read(train=str(path), **data).examples
    assert (example.text, example.labels) == ("Our friends", {"t": "1"})
    assert str(example.place) == f"{path}:1"


def test_a_named_column_can_be_meant_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\nx\ty\n")
    assert read(train=str(path), columns={"text": 1}).examples[0].text == "y"


def test_conll_files_need_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.bio"
    path.write_text("EU NNP B-ORG\nis V O\n")
    [example] = read(train=str(path)).examples
    assert example == Example(
        text="EU is", words=("EU", "is"), labels={"t": ["B-ORG", "O"]}, place=example.place
    )  # fmt: skip
    [example] = read(train=str(path), columns={"t": 1}).examples
    assert example.labels == {"t": ["NNP", "V"]}
    message = error(train=str(path), columns={"t": 7})
    assert "no row has a column 7" in message


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"question": "a", "sentence": "b", "context": "c"}, ["several columns could be the text and its pair"]),
        ({"content": "a", "review": "b"}, ["several columns could be the text: 'content', 'review'"]),
        (
            {"query": "a", "title": "b"},
            ["no column is recognised", "The columns are 'query', 'title'", "columns: {text:"],
        ),
        ({"text": "a", "text_b": "b", "hypothesis": "c"}, ["several columns could be the pair"]),
    ],
)
def test_unclear_columns_are_listed(tmp_path: Path, row: dict[str, Any], parts: list[str]) -> None:
    message = error(train=jsonl(tmp_path / "x.jsonl", row, row))
    for part in parts:
        assert message.count(part) == 1


def test_a_misspelt_column_is_one_problem_not_one_per_row(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"sentence": "a", "gold": 1}] * 50)
    with pytest.raises(DataError) as caught:
        read(train=path, columns={"text": "sentense", "label": "glod"})
    assert [problem.todo for problem in caught.value.problems] == ["did you mean 'sentence'?", "did you mean 'gold'?"]


def test_a_misspelt_role_is_pointed_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "a", "gold": 1})
    assert "`columns` has 'lable'; did you mean 'label'?" in error(train=path, columns={"lable": "gold"})
    assert "a pair but no text" in error(train=path, columns={"pair": "text"})


def test_a_label_that_only_some_rows_have_is_missing_in_the_others(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "a"}, {"text": "b", "gold": 1})
    assert [e.labels for e in read(train=path, columns={"label": "gold"}).examples] == [{}, {"t": 1}]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"text": None}, ":2: the text is empty"),
        ({"text": ["a", "b"]}, ":2: the text in 'text' is no string: ['a', 'b']"),
        ({"text": True}, "is no string: True"),
        ({"text": "a", "pair": {}}, "the pair in 'pair' is no string"),
        ({"words": ["a", ""]}, ":2: word 2 of 2 is empty"),
        ({"words": ["a", None]}, ":2: word 2 of 2 is empty"),
        ({"words": [["a"]]}, "word 1 of 1 is no string: ['a']"),
        ({"text": "a", "options": ["only"]}, "no list of two or more"),
        ({"nothing": 1}, ":2: no column is recognised as the text"),
    ],
)
def test_broken_rows_are_errors(tmp_path: Path, row: dict[str, Any], part: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "ok"}, row)
    assert part in error(train=path)
    assert path in error(train=path)


def test_words_that_are_a_string_suggest_the_source_for_them(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"w": "a b"})
    assert "uer_ner" in error(train=path, columns={"words": "w"})


def test_rows_without_input_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": " \u3000"}, {"text": ""}, {"words": []}, {"text": "a", "pair": " "}]
    path = jsonl(tmp_path / "x.jsonl", *rows)
    found = read(train=path)
    assert len(found.examples) == 1
    assert found.skipped == {"empty text": 2, "no words": 1, "empty pair": 1}
    assert str(found.first["empty text"]) == f"{path}:2"


def test_no_rows_at_all_is_an_error_but_no_split_is_not(tmp_path: Path) -> None:
    assert "there are no rows" in error(train=jsonl(tmp_path / "x.jsonl"))
    assert read("dev", train=jsonl(tmp_path / "y.jsonl", {"text": "a"})).examples == []


def test_several_sources_follow_one_another(tmp_path: Path) -> None:
    a, b = jsonl(tmp_path / "a.jsonl", {"text": "a"}), tmp_path / "b.txt"
    b.write_text("b\n")
    assert [e.text for e in read(train=[a, str(b)]).examples] == ["a", "b"]


def texts(split: str, *, seed: int = 1, task: str = "t", **data: Any) -> list[str]:
    return [e.text for e in read(split, seed=seed, task=task, **data).examples]


def test_shares_are_cut_out_disjointly_and_in_file_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"text": f"{k:03}"} for k in range(100)])
    data = {"train": path, "dev": "10%", "test": {"type": "cut", "share": 0.25}}
    train, dev, test = (texts(split, **data) for split in ("train", "dev", "test"))
    assert (len(train), len(dev), len(test)) == (65, 10, 25)
    assert sorted(train + dev + test) == [f"{k:03}" for k in range(100)]
    assert (train, dev, test) == (sorted(train), sorted(dev), sorted(test))
    assert dev == texts("dev", **data)
    assert dev != texts("dev", seed=2, **data)
    # The same rows whatever the task, and whether or not it could use them all.
    assert dev == texts("dev", task="other", **data)
    # Asking for a test share as well does not move the dev rows.
    assert dev == texts("dev", train=path, dev="10%")


def test_tasks_that_cannot_use_some_rows_are_cut_alike(tmp_path: Path) -> None:
    rows = [{"text": f"{k:03}", "other": "" if k % 3 else f"{k:03}"} for k in range(60)]
    path = jsonl(tmp_path / "x.jsonl", *rows)
    dev = texts("dev", train=path, dev="20%")
    other = texts("dev", train=path, dev="20%", columns={"text": "other"})
    assert other == [text for text in dev if int(text) % 3 == 0]


def test_a_share_may_stand_beside_a_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"text": str(k)} for k in range(10)])
    extra = jsonl(tmp_path / "y.jsonl", {"text": "extra"})
    dev = texts("dev", train=path, dev=[extra, "10%"])
    assert (dev[0], len(dev)) == ("extra", 2)
    assert len(texts("train", train=path, dev=[extra, "10%"])) == 9


def test_impossible_cuts(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"text": str(k)} for k in range(10)])
    assert "leave nothing of its 10 rows" in error(split="dev", train=path, dev="60%", test="50%")
    of_dev = {"type": "cut", "share": 0.5, "of": "dev"}
    assert "cannot itself be a share" in error(split="test", train=path, dev="10%", test=of_dev)


def test_hostile_rows_of_any_length_are_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "中a " * 33_334}, {"words": ["字"] * 100_000})
    assert [len(e.text) for e in read(train=path).examples] == [100_002, 100_000]


def test_a_cut_does_not_divide_the_candidates_of_a_query(tmp_path: Path) -> None:
    rows = [{"text": f"q{k // 4}", "pair": f"p{k}", "query": f"{k // 4}", "label": k % 2} for k in range(80)]
    data = DataConfig.model_validate({"train": jsonl(tmp_path / "x.jsonl", *rows), "dev": "25%"})
    train, dev = (read_split(data, split, task="t", seed=1).examples for split in ("train", "dev"))
    assert len(train) + len(dev) == 80
    assert len(dev) == 20
    assert not {example.query for example in train} & {example.query for example in dev}


def test_a_source_may_have_columns_of_its_own(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "1.jsonl", {"sentence": "a", "mark": "x"})
    two = jsonl(tmp_path / "2.jsonl", {"body": "b", "mark": "y"})
    data = {
        "train": [one, {"path": two, "columns": {"text": "body"}}],
        "columns": {"text": "sentence", "label": "mark"},
    }
    found = read_split(DataConfig.model_validate(data), "train", task="t", seed=1).examples
    assert [(example.text, example.labels["t"]) for example in found] == [("a", "x"), ("b", "y")]
