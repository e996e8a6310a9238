"""What the benchmarks of durability train: the demo's four tasks, small."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import braid
from braid.tools.demo_data import write_demo_data

TINY = {"type": "bert", "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_length": 48}


def recipe_of(
    data: Path, out: Path, *, encoder: dict[str, Any] | None = None, task: dict[str, Any] | None = None, **train: Any
) -> braid.Recipe:
    """The demo's four tasks, small. *task*: options of every task."""
    files = {
        "entities": ("notes_{}.jsonl", {"type": "tagging", "crf": True}),
        "sentiment": ("notes_{}.jsonl", {"type": "classification"}),
        "segmentation": ("words_{}.txt", {"type": "tagging"}),
        "closeness": ("pairs_{}.tsv", {"type": "regression"}),
    }
    tasks = {}
    for name, (pattern, options) in files.items():
        found = {split: str(data / pattern.format(split)) for split in ("train", "dev")}
        tasks[name] = {
            **options,
            **(task or {}),
            "data": {**found, **({"source": "segmented"} if name == "segmentation" else {})},
        }
    return braid.Recipe(
        encoder={**TINY, "vocab_size": 800, **(encoder or {})},
        tasks=tasks,
        chain="entities & sentiment | segmentation | closeness",
        train={"batch_rows": 16, "lr": 1e-3, "epochs": 50, "precision": "fp32", **train},
        out=str(out),
        cache=str(data / "cache"),
    )


def write_data(data: Path, rows: int = 400) -> None:
    """The demo's data, few rows of it: most of a killed process's life should be training."""
    if data.exists():
        return
    write_demo_data(data)
    for path in data.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[: rows if "_train" in path.name else rows // 8]), encoding="utf-8")


def quiet(message: str) -> None:
    """Say nothing."""


def report(title: str, found: dict[str, Any]) -> None:
    """A table of two columns."""
    table = Table("what", "figure", title=title, title_justify="left")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console(width=100).print(table)
