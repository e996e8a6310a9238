"""A small trained run that several tests read, and recipes to train others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import braid

WORDS = {"pos": ["good", "fine", "great", "lovely"], "neg": ["bad", "poor", "awful", "weak"]}
PLACES = ["Paris", "Rome", "北京", "上海"]


def rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    """Reviews with a place in them: a text, its mood, its places, and a score."""
    out = []
    for k in range(start, start + n):
        mood = ("pos", "neg")[k % 2]
        place = PLACES[k // 2 % len(PLACES)]
        text = f"visit to {place} was {WORDS[mood][k // 8 % 4]} in week {k}"
        at = text.index(place)
        out.append(
            {
                "text": text,
                "mood": mood,
                "score": 4.5 if mood == "pos" else 0.5,
                "places": [{"start": at, "end": at + len(place), "label": "PLACE"}],
            }
        )
    return out


def write_jsonl(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return path


def recipe_data(folder: Path) -> dict[str, Any]:
    """A recipe of three tasks on one file, chained by `&` and `|`."""
    for split, n, start in (("train", 48, 0), ("dev", 16, 100), ("test", 16, 200)):
        write_jsonl(folder / f"{split}.jsonl", rows(n, start))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "dev", "test")}
    return {
        "name": "small",
        "encoder": {"hidden_size": 32, "layers": 2, "heads": 2, "max_length": 32, "vocab_size": 200},
        "tasks": {
            "mood": {"type": "classification", "pooling": "max", "data": dict(files)},
            "places": {"type": "tagging", "crf": True, "data": dict(files)},
            "score": {"type": "regression", "data": dict(files)},
        },
        "chain": "mood & places | score",
        "train": {"epochs": 20, "lr": 5e-3, "batch_tokens": 256, "precision": "fp32", "log_every": 1000},
        "out": str(folder / "run"),
        "cache": str(folder / "cache"),
    }


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The small recipe's data in a folder of its own."""
    return lambda: recipe_data(tmp_path)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small recipe, trained once."""
    folder = tmp_path_factory.mktemp("small")
    run = braid.train(braid.Recipe(**recipe_data(folder)), say=lambda message: None)
    return run.directory
