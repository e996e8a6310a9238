"""The demo's data: reproducible, rightly labelled, and no test name or text in training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from braid.tools.demo_data import DEMO_TEXTS, write_demo_data
from braid.tools.demo_pairs import CLOSEST, VERDICTS

SIZES = {"train": 1000, "dev": 150, "test": 200}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    write_demo_data(path, **SIZES)
    return path


def notes(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"notes_{split}.jsonl").read_text("utf-8").splitlines()]


def pairs(folder: Path, split: str) -> list[list[str]]:
    return [line.split("\t") for line in (folder / f"pairs_{split}.tsv").read_text("utf-8").splitlines()[1:]]


def segmented(folder: Path, split: str) -> list[str]:
    return (folder / f"words_{split}.txt").read_text("utf-8").splitlines()


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["text"][e["start"] : e["end"]].casefold() for row in rows for e in row.get("entities", ())}


def digest(folder: Path) -> str:
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(folder.iterdir()))
    return hashlib.sha256(content).hexdigest()


def test_paths_are_returned_by_kind_in_the_order_of_the_splits(tmp_path: Path) -> None:
    paths = write_demo_data(tmp_path / "new" / "folder", train=30, dev=5, test=5)
    assert {kind: [path.name for path in found] for kind, found in paths.items()} == {
        "notes": ["notes_train.jsonl", "notes_dev.jsonl", "notes_test.jsonl"],
        "words": ["words_train.txt", "words_dev.txt", "words_test.txt"],
        "pairs": ["pairs_train.tsv", "pairs_dev.tsv", "pairs_test.tsv"],
        "predict": ["predict_me.txt"],
    }
    assert all(path.is_file() for found in paths.values() for path in found)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    write_demo_data(tmp_path / "same", **SIZES)
    write_demo_data(tmp_path / "other", seed=2, **SIZES)
    assert digest(tmp_path / "same") == digest(folder)
    assert digest(tmp_path / "other") != digest(folder)


def test_sizes(folder: Path) -> None:
    for split, size in SIZES.items():
        assert len(notes(folder, split)) == size
        assert len(pairs(folder, split)) == (400 if split == "train" else size)
        assert len(segmented(folder, split)) == (400 if split == "train" else size)


@pytest.mark.parametrize("split", SIZES)
def test_entities_are_whole_names_that_do_not_overlap(folder: Path, split: str) -> None:
    for row in notes(folder, split):
        end = 0
        for entity in row.get("entities", ()):
            assert entity["start"] >= end
            end = entity["end"]
            name = row["text"][entity["start"] : end]
            assert name
            assert name == name.strip()
            assert not set(name) & set("，。？,.;?")
            # An English name is neither the beginning nor the end of a longer word.
            around = row["text"][max(0, entity["start"] - 1) : entity["start"]] + row["text"][end : end + 1]
            if name.isascii():
                assert not any(character.isascii() and character.isalnum() for character in around)


def test_names_of_dev_and_test_are_not_in_any_training_text(folder: Path) -> None:
    train = names(notes(folder, "train"))
    training_texts = "\n".join(
        [*(row["text"] for row in notes(folder, "train")), *segmented(folder, "train")]
    ).casefold()
    for split in ("dev", "test"):
        unseen = names(notes(folder, split))
        assert len(unseen) > 100
        assert not unseen & train
    long_names = [name for name in names(notes(folder, "test")) if len(name) > 3 and not name[-1].isdigit()]
    assert [name for name in long_names if name in training_texts] == []


def test_every_label_occurs_often_and_sentiments_are_balanced(folder: Path) -> None:
    rows = notes(folder, "test")
    labels = Counter(entity["label"] for row in rows for entity in row["entities"])
    assert set(labels) == {"PERSON", "PLACE", "DISH", "PRODUCT", "DATE"}
    assert min(labels.values()) >= 10
    sentiments = Counter(row["sentiment"] for row in rows)
    assert set(sentiments) == {"positive", "negative", "neutral"}
    assert min(sentiments.values()) > len(rows) / 5


def test_some_training_rows_and_no_others_lack_exactly_one_label(folder: Path) -> None:
    missing = [{"entities", "sentiment"} - row.keys() for row in notes(folder, "train")]
    assert 40 < sum(bool(keys) for keys in missing) < 130
    assert {len(keys) for keys in missing} == {0, 1}
    assert set.union(*missing) == {"entities", "sentiment"}
    assert all({"text", "entities", "sentiment"} == row.keys() for s in ("dev", "test") for row in notes(folder, s))


def test_no_adjective_decides_the_sentiment_alone(folder: Path) -> None:
    labels = {word: Counter[str]() for word in ("good", "awful", "出色", "糟糕")}
    for row in notes(folder, "train"):
        for word, seen in labels.items():
            if word in row["text"] and "sentiment" in row:
                seen[row["sentiment"]] += 1
    assert all(set(seen) == {"positive", "negative", "neutral"} for seen in labels.values())


def test_no_text_is_in_two_splits(folder: Path) -> None:
    for read in (
        lambda split: [row["text"] for row in notes(folder, split)],
        lambda split: [row[1] + "\t" + row[2] for row in pairs(folder, split)],
        lambda split: segmented(folder, split),
    ):
        texts = [text for split in SIZES for text in read(split)]
        assert len(set(texts)) == len(texts)


def test_closeness_is_five_less_the_steps_between_the_verdicts(folder: Path) -> None:
    level = {word: n for levels in VERDICTS.values() for n, words in enumerate(levels) for word in words}

    def verdict(text: str) -> int:
        # The longest wording in the text: `很好` is in no other, but `good` is in `very good` and `not good`.
        return level[max((word for word in level if word in text), key=len)]

    rows = pairs(folder, "test")
    assert all(int(score) == CLOSEST - (verdict(first) - verdict(second)) for score, first, second in rows)
    assert set(Counter(score for score, _, _ in rows)) == {"0", "1", "2", "3", "4", "5"}


def test_segmented_lines_have_single_spaces_between_words(folder: Path) -> None:
    for line in segmented(folder, "train"):
        words = line.split(" ")
        assert all(words)
        assert words[-1] in "。？"
        assert max(len(word) for word in words if not word.isascii()) <= 4


def test_texts_to_predict_are_new_to_the_model(folder: Path) -> None:
    texts = (folder / "predict_me.txt").read_text("utf-8").splitlines()
    assert tuple(texts) == DEMO_TEXTS
    assert 4 <= len(texts) <= 6
    assert not set(texts) & {row["text"] for row in notes(folder, "train")}
