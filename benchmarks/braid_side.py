"""Our side of the training benchmarks: a recipe is trained, its steps are counted from `metrics.jsonl`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from matmul import Sizes
from trainer_peer import BATCH, MAX_LENGTH
from versus import Found

import braid


def encoder_of(sizes: Sizes) -> dict[str, Any]:
    """The encoder of a recipe."""
    return {
        "type": "bert",
        "hidden_size": sizes.hidden,
        "layers": sizes.layers,
        "heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_length": MAX_LENGTH,
    }


def train(recipe: dict[str, Any], *, warmup: int, **options: Any) -> Found:
    """Real tokens a second of the steps after *warmup* ones."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        common = {
            "batch_rows": BATCH,
            "batch_tokens": None,
            "clip": 1.0,
            "weight_decay": 0.01,
            "log_every": 1,
            "lr": 1e-4,
        }
        given = {**recipe, "train": {**common, "epochs": 1, "eval_every": 100_000, **options}}
        braid.train(braid.Recipe(**given, out=str(out), cache=str(Path(folder) / "cache")))
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "tokens_per_second" in line]
    rest = steps[warmup:]
    losses = [sum(line["loss"].values()) for line in steps[-10:]]
    return {
        "rate": sum(line["tokens"] for line in rest) / (rest[-1]["time"] - steps[warmup - 1]["time"]),
        "tokens": sum(line["tokens"] for line in steps),
        "loss": sum(losses) / len(losses),
    }
