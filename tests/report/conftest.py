"""A small finished run that the tests of card and upload share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import braid


@pytest.fixture(scope="session")
def shipped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks on the same rows; a label is markup."""
    folder = tmp_path_factory.mktemp("shipped")
    moods = ("good|<i>", "bad")
    rows = [{"text": f"day {k} was {moods[k % 2][:4]}", "mood": moods[k % 2], "score": float(k % 2)} for k in range(16)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = dict.fromkeys(("train", "dev"), str(path))
    recipe = braid.Recipe(
        name="shipped",
        out=str(folder / "run"),
        cache=None,
        encoder={"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "max_length": 24},
        tasks={"mood": {"type": "classification", "data": files}, "score": {"type": "regression", "data": files}},
        chain="mood & score",
        train={"epochs": 1, "batch_tokens": 128, "precision": "fp32", "log_every": 1},
    )
    braid.train(recipe, say=lambda message: None)
    return folder / "run"
