"""The losses of 50 steps stay what they were: no change for speed may change what is learned.

`python tests/training/test_golden.py` writes golden.json anew, for a change that means to change them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import braid
from braid.tools.demo_data import write_demo_data

GOLDEN = Path(__file__).with_name("golden.json")
STEPS = 50
TOLERANCE = {"fp32": 2e-4, "bf16": 1e-2}
"""Of each loss, relative to the sum of its own size and 1: other orders of sums, and half precision, grow over 50 steps
of a model that learns fast."""


def losses(folder: Path, precision: str) -> dict[str, list[float]]:
    """Each task's loss at every step: four tasks and a language model at once, dropout, clipping and weight decay."""
    data = folder / "data"
    if not data.exists():
        write_demo_data(data)
    notes = [json.loads(line)["text"] for line in (data / "notes_train.jsonl").read_text("utf-8").splitlines()]
    (data / "notes.txt").write_text("\n".join(notes[:800]), encoding="utf-8")
    recipe: dict[str, Any] = {
        "seed": 7,
        "encoder": {"type": "bert", "layers": 2, "hidden_size": 64, "heads": 4, "dropout": 0.1},
        "tasks": {
            "entities": {"type": "tagging", "crf": True, "data": {"train": str(data / "notes_train.jsonl")}},
            "sentiment": {"type": "classification", "data": {"train": str(data / "notes_train.jsonl")}},
            "closeness": {"type": "regression", "data": {"train": str(data / "pairs_train.tsv")}},
            "mlm": {"type": "mlm", "fill": "text", "data": {"train": str(data / "notes.txt")}},
        },
        "chain": "entities & sentiment | closeness | mlm@0.2",
        "train": {
            "max_steps": STEPS,
            "epochs": 5,
            "batch_rows": 24,
            "lr": 1e-3,
            "log_every": 1,
            "precision": precision,
            "threads": 1,
            "device": "cpu",
        },
        "out": str(folder / precision),
        "cache": str(folder / "cache"),
    }
    braid.train(braid.Recipe(**recipe))
    lines = [json.loads(line) for line in (folder / precision / "metrics.jsonl").read_text().splitlines()]
    steps = [line["loss"] for line in lines if "loss" in line]
    return {name: [round(step.get(name, 0.0), 5) for step in steps] for name in recipe["tasks"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_losses_are_what_they_were(folder: Path, precision: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, found in losses(folder, precision).items():
        assert len(found) == STEPS
        for step, (ours, wanted) in enumerate(zip(found, golden[name], strict=True), 1):
            assert abs(ours - wanted) <= TOLERANCE[precision] * (1 + abs(wanted)), f"{name}, step {step}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = losses(Path(name), "fp32")
    json.dump(found, sys.stdout if "--show" in sys.argv else GOLDEN.open("w", encoding="utf-8"), indent=1)
