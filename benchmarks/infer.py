"""Prediction speed: many tasks on the same texts in one pass, against as many pipelines of transformers.

    python benchmarks/infer.py [--repeats 3] [--texts 1024]

The encoder of `finetune.py`, untrained; 8, 4 and 1 tasks, half of them classification and half of them tagging (the one
is classification). `braid int8` is the run of one task after `braid export --int8`. Pipelines as their documentation
shows them (a list of texts, fp32) and tuned (bf16 where the machine has it, texts sorted by length, batches of 32).
Texts a second, after a warm-up. The limit: the matrix products of one encoder alone.

Prints a table and, last, one line of JSON: `vs_tuned_8`, `vs_tuned_4`, `vs_tuned_1`, `vs_default_8` ..., `of_limit_1`,
`int8_vs_tuned_1`. What int8 does to figures, `braid export` says for each run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matmul import peak
from texts import reviews, tokenizer, vocabulary
from trainer_peer import BATCH, MAX_LENGTH, SIZES, bert_config, fastest
from versus import Found, contest, ratio

TASKS = (8, 4, 1)
KINDS = ("classification", "tagging")
WARMUP = 64
INT8 = "run_1_int8"


def kinds(n: int) -> list[str]:
    """What *n* tasks are."""
    return [KINDS[number % 2] for number in range(n)]


def texts(n: int) -> list[str]:
    """Texts, the warm-up's first."""
    return [text for _, text in reviews(WARMUP + n)]


def setup(options: argparse.Namespace, numbers: Sequence[int] = TASKS) -> None:
    """Runs of so many tasks, one step old."""
    import json

    from braid_side import encoder_of

    import braid

    for n in numbers:
        if (options.folder / f"run_{n}" / "metrics.json").exists():
            continue
        tasks: dict[str, Any] = {}
        for number, kind in enumerate(kinds(n)):
            path = options.folder / f"{n}_{number}.jsonl"
            rows = [{"text": text[:20], "label": label} for label, text in reviews(40)]
            if kind == "tagging":
                rows = [{**row, "label": [{"start": 0, "end": 1, "label": "AB"[int(row["label"])]}]} for row in rows]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            tasks[f"task_{number}"] = {"type": kind, "data": {"train": str(path)}}
        recipe = {
            "encoder": {**encoder_of(SIZES), "vocab": str(vocabulary(options.folder))},
            "tasks": tasks,
            "chain": " | ".join(tasks),
            "train": {"max_steps": 1, "epochs": 1},
            "out": str(options.folder / f"run_{n}"),
        }
        braid.train(braid.Recipe(**recipe))


def export_int8(options: argparse.Namespace) -> None:
    """The run of one task in int8. It is a step old, so its figures mean nothing and may fall."""
    from braid.export.exporting import export

    if not (options.folder / INT8).exists():
        export(options.folder / "run_1", out=options.folder / INT8, int8=True, tolerance=1.0)


def ours(options: argparse.Namespace, run: str) -> Found:
    import braid

    model = braid.load(options.folder / run)
    given = texts(options.texts)
    list(model.stream(given[:WARMUP]))
    began = time.perf_counter()
    done = sum(len(result) > 0 for result in model.stream(given[WARMUP:]))
    return {"rate": done / (time.perf_counter() - began)}


def pipeline_of(options: argparse.Namespace, kind: str, dtype: torch.dtype, **more: Any) -> Any:
    """transformers' pipeline of a task, with fresh weights."""
    from transformers import BertForSequenceClassification, BertForTokenClassification, pipeline

    labels = kind == "classification"
    classes: Any = BertForSequenceClassification if labels else BertForTokenClassification
    model = classes(bert_config(SIZES, tuned=False, labels=2 if labels else 5)).eval().to(dtype)
    split = tokenizer(Path(options.folder))
    split.model_max_length = MAX_LENGTH
    name = "text-classification" if labels else "token-classification"
    return pipeline(
        name, model=model, tokenizer=split, device="cpu", **({"truncation": True} if labels else {}), **more
    )


def pipelines(options: argparse.Namespace, n: int, *, tuned: bool) -> Found:
    dtype = fastest() if tuned else torch.float32
    given = texts(options.texts)
    if tuned:
        given = given[:WARMUP] + sorted(given[WARMUP:], key=len)
    seconds = 0.0
    for kind in kinds(n):
        run = pipeline_of(options, kind, dtype, **({"batch_size": BATCH} if tuned else {}))
        list(run(given[:WARMUP]))
        began = time.perf_counter()
        done = len(list(run(given[WARMUP:])))
        seconds += time.perf_counter() - began
        assert done == options.texts
    return {"rate": options.texts / seconds, "bf16": dtype == torch.bfloat16}


def limit(options: argparse.Namespace) -> Found:
    found = tokenizer(Path(options.folder))(texts(options.texts)[WARMUP:], truncation=True, max_length=MAX_LENGTH)
    lengths = [len(ids) for ids in found["input_ids"]]
    speed = peak(SIZES, BATCH * 64, fastest(), backward=False)
    return {"rate": speed * len(lengths) / SIZES.flops(lengths), "gigaflops": speed / 1e9}


def report(turns: dict[str, list[Found]]) -> Found:
    out: Found = {}
    for n in TASKS:
        for key, side in (("vs_tuned", f"{n} tuned pipelines"), ("vs_default", f"{n} pipelines")):
            if side in turns and f"braid, {n} tasks" in turns:
                out[f"{key}_{n}"] = ratio(turns, f"braid, {n} tasks", side)
    if "limit" in turns and "braid, 1 tasks" in turns:
        out["of_limit_1"] = ratio(turns, "braid, 1 tasks", "limit")
    if "braid int8" in turns and "1 tuned pipelines" in turns:
        out["int8_vs_tuned_1"] = ratio(turns, "braid int8", "1 tuned pipelines")
    return out


def sides() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for n in TASKS:
        found[f"braid, {n} tasks"] = lambda options, n=n: ours(options, f"run_{n}")
        found[f"{n} tuned pipelines"] = lambda options, n=n: pipelines(options, n, tuned=True)
        found[f"{n} pipelines"] = lambda options, n=n: pipelines(options, n, tuned=False)
    return {**found, "braid int8": lambda options: ours(options, INT8), "limit": limit}


if __name__ == "__main__":
    contest(
        sides(),
        doc=__doc__,
        unit="texts/s",
        report=report,
        setup=lambda options: (setup(options), export_int8(options)),
        arguments=lambda parser: parser.add_argument("--texts", type=int, default=1024),
    )
