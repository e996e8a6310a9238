"""What each task type makes of wrong rows in files: an error with file:line, or a skip that is counted and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import braid
from braid.config.families import TaskConfig
from braid.errors import BraidError
from braid.tasks.base import Task

SIZES: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "max_length": 48}

ERRORS = [
    ("span", {"text": "who ?", "pair": "Anna went", "label": "Anna"}, "expected a list"),
    ("span", {"text": "who ?", "label": [{"start": 0, "text": "Anna"}]}, "needs a `pair`"),
    ("multiple_choice", {"text": "t", "options": ["only"], "label": 0}, "two or more"),
    ("multiple_choice", {"text": "t", "label": 0}, "two or more"),
    ("multiple_choice", {"text": "t", "options": ["a", "b"], "label": 2}, "2 options"),
    ("ranking", {"text": "q", "pair": "c", "label": "good"}, "expected a number"),
    ("ranking", {"text": "q", "label": 1}, "needs a `pair`"),
    ("dependency", {"words": ["a", "b"], "label": {"heads": [2, 1], "relations": ["x", "y"]}}, "."),
    ("dependency", {"words": ["a", "b"], "label": {"heads": [0], "relations": ["root"]}}, "."),
    ("seq2seq", {"text": "t", "label": 7}, "."),
    ("similarity", {"text": "t", "pair": "u", "label": "close"}, "expected a number"),
    ("similarity", {"text": "t", "label": 1}, "needs a `pair`"),
    ("multilabel", {"text": "t", "label": [["a"]]}, "list"),
    ("classification", {"text": "t", "label": {"logits": {"pos": None}}}, "finite"),
    ("tagging", {"words": ["a"], "label": {"tags": ["O"], "logits": {"labels": ["O"], "values": [[1], [2]]}}}, "units"),
]

SKIPS = [
    ("span", {"text": "who ?", "pair": "Anna went", "label": [{"start": 500, "text": "Anna"}]}, "does not stand where"),
    ("seq2seq", {"text": "t", "label": "  "}, "empty"),
    ("multiple_choice", {"text": "t", "options": ["a", "a"], "label": "a"}, "more than once"),
    ("ranking", {"text": "q", "pair": "c", "query": "lonely", "label": 0}, "without a relevant candidate"),
]


def recipe(folder: Path, kind: str, wrong: dict[str, Any], splits: tuple[str, ...] = ("train",)) -> braid.Recipe:
    variant = TaskConfig.lookup(kind)
    assert issubclass(variant, Task)
    good, bad = folder / "good.jsonl", folder / "bad.jsonl"
    rows = [json.dumps(row) + "\n" for row in variant.specimens(8)]
    good.write_text("".join(rows), "utf-8")
    bad.write_text("".join([*rows[:3], json.dumps(wrong) + "\n", *rows[3:]]), "utf-8")
    files = {split: str(bad if split in splits else good) for split in ("train", "dev")}
    return braid.Recipe(
        name="wrong",
        out=str(folder / "run"),
        cache=str(folder / "cache"),
        encoder=SIZES,
        tasks={"it": {"type": kind, "data": files}},
        chain="it",
        train={"epochs": 1, "batch_rows": 4, "precision": "fp32"},
    )


@pytest.mark.parametrize(("kind", "wrong", "what"), ERRORS)
def test_a_wrong_row_stops_training_before_it_starts(
    tmp_path: Path, kind: str, wrong: dict[str, Any], what: str
) -> None:
    with pytest.raises(BraidError, match=what) as caught:
        braid.train(recipe(tmp_path, kind, wrong), say=lambda message: None)
    assert "bad.jsonl:4" in str(caught.value)


@pytest.mark.parametrize(("kind", "wrong", "what"), SKIPS)
def test_a_row_to_skip_is_counted_and_named(tmp_path: Path, kind: str, wrong: dict[str, Any], what: str) -> None:
    said: list[str] = []
    made = recipe(tmp_path, kind, wrong, splits=("train", "dev"))
    run = braid.train(made, say=said.append)
    # An answer is compared by its text, wherever it stands.
    splits = ("train",) if kind == "span" else ("train", "dev")
    for split in splits:
        assert any(what in line and f"it, {split}: 1 " in line and "bad.jsonl:4" in line for line in said), said
    assert run.scores("dev")
    report = braid.check(made)
    assert report.ok
    found = [finding for finding in report.findings if what in finding.what]
    assert {finding.split for finding in found} == set(splits)
    assert all("bad.jsonl:4" in finding.places[0] for finding in found)
