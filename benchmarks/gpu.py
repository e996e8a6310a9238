"""What needs a GPU: checks that a GPU computes what the CPU does, and how fast it trains. Without a GPU: "no GPU".

    python benchmarks/gpu.py [--quick] [--checks-only] [--steps 60]

Checks (`gpu_checks.py`): hidden states and gradients in fp32 and bf16, training against the CPU's, `precision: auto`,
`batch_tokens: auto`, the retreat from a step that does not fit, DDP and FSDP on 1, 2, 4 ... GPUs. Then fine-tuning on
reviews and masked language modelling on full rows of 512 tokens, in the shapes of BERT-base and BERT-large: real tokens
a second after a warm-up, and model FLOPs utilisation: the products of a forward pass and twice as many for a backward
pass, over the seconds taken, as a share of what this GPU multiplies 8,192 x 8,192 matrices in bf16 at.

Prints a table, writes it with date and machine under "On a GPU" of RESULTS.md, and prints, last, one line of JSON.
Exit code 1 where a check failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_checks
import torch
from matmul import Sizes, peak_of
from results import machine, write_gpu
from texts import reviews, table, vocabulary
from trainer_peer import MAX_LENGTH, WARMUP
from utilisation import BASE, watch_training, work_of
from versus import Found

from braid.model.precision import resolve

LARGE = Sizes(layers=24, hidden=1024, inner=4096, heads=16)
SHAPES = {"BERT-base": (BASE, 32768), "BERT-large": (LARGE, 16384)}
"""With the tokens of a step."""

LONG = 512
"""Tokens of a row in pre-training."""

CUBE = 8192


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, BERT-base only")
    parser.add_argument("--checks-only", action="store_true", help="no timing; RESULTS.md stays as it is")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--work", help=argparse.SUPPRESS)  # one process of several
    options = parser.parse_args()
    if options.work:
        gpu_checks.work(json.loads(options.work))
        return 0
    if not torch.cuda.is_available():
        print("no GPU")
        return 0
    device = torch.device("cuda", 0)
    checks = checked(device, processes=counts(torch.cuda.device_count()))
    lines = table_of(("check", "found"), checks)
    speeds: list[Found] = []
    if not options.checks_only:
        shapes = dict(list(SHAPES.items())[:1]) if options.quick else SHAPES
        speeds = [
            timed(device, name, sizes, kind, tokens=tokens, steps=10 if options.quick else options.steps)
            for name, (sizes, tokens) in shapes.items()
            for kind in ("fine-tuning", "pre-training")
        ]
        lines += ["", *table_of(tuple(speeds[0]), [tuple(map(shown, each.values())) for each in speeds])]
    text = "\n".join(lines)
    print(text)
    if speeds:
        write_gpu(f"`python benchmarks/gpu.py`, {datetime.date.today()}, {machine()}\n\n{text}")
    failed = [name for name, found in checks if found.startswith("failed")]
    out: Found = {"checks": f"{len(checks) - len(failed)} of {len(checks)}"}
    for each in speeds:
        out[f"{each['shape']} {each['what']}".replace(" ", "_").replace("-", "_").lower()] = each["utilisation"]
    print(json.dumps(out))
    return 1 if failed else 0


def checked(device: torch.device, *, processes: list[int]) -> list[tuple[str, str]]:
    """What was checked, and `ok` or what was wrong; one that fails does not keep the others from running."""
    todo: list[tuple[str, Callable[[], None]]] = [
        (check.__name__, lambda check=check: check(device))  # type: ignore[misc]
        for check in gpu_checks.CHECKS
    ]
    for number in processes:
        name = f"{gpu_checks.processes_train_the_same.__name__}, {number}"
        todo.append((name, lambda number=number: gpu_checks.processes_train_the_same(device, number)))  # type: ignore[misc]
    return [(name.replace("_", " "), outcome(check)) for name, check in todo]


def outcome(check: Callable[[], None]) -> str:
    """`ok` with its seconds, or what was wrong in one line."""
    began = time.perf_counter()
    try:
        check()
    except Exception as error:
        said = " ".join(str(error).split()) or "no reason given"
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return f"failed: {type(error).__name__}: {said[:200]}".replace("|", "/")
    return f"ok ({time.perf_counter() - began:.0f} s)"


def counts(gpus: int) -> list[int]:
    """1, 2, 4 ... and all of them."""
    found = [number for number in (1, 2, 4) if number < gpus]
    return [*found, gpus] if gpus else []


def timed(device: torch.device, name: str, sizes: Sizes, kind: str, *, tokens: int, steps: int) -> Found:
    """One row of the table of speeds."""
    with tempfile.TemporaryDirectory() as folder:
        given = recipe_of(Path(folder), sizes, kind, device, tokens)
        given["train"]["max_steps"] = WARMUP + steps
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        watched = watch_training(given, steps=steps, vocabulary=sizes.vocabulary, profiled=0)
    half = resolve("auto", device) == "bf16"
    cube = CUBE if device.type == "cuda" else 256
    highest = peak_of([(1, cube, cube, cube)], torch.bfloat16 if half else torch.float32, backward=False, device=device)
    work = 3 * sum(work_of(sizes, watched.rows, watched.predicted).values())
    memory = torch.cuda.max_memory_allocated(device) / gpu_checks.GIBIBYTE if device.type == "cuda" else 0.0
    return {
        "shape": name,
        "what": kind,
        "tokens a step": round(sum(watched.rows) / watched.steps),
        "real tokens/s": round(sum(watched.rows) / watched.seconds),
        "TFLOP/s": round(work / watched.seconds / 1e12, 3),
        "peak TFLOP/s": round(highest / 1e12, 3),
        "utilisation": round(work / watched.seconds / highest, 3),
        "GiB": round(memory, 1),
    }


def recipe_of(folder: Path, sizes: Sizes, kind: str, device: torch.device, tokens: int) -> dict[str, Any]:
    """Reviews as texts of up to 128 tokens to be told apart, or as a corpus in full rows."""
    from braid_side import encoder_of

    rows = reviews(20_000 if device.type == "cuda" else 500)
    if kind == "pre-training":
        path = folder / "corpus.txt"
        path.write_text("".join(f"{text}\n" for _, text in rows), encoding="utf-8")
        name, task = "mlm", {"type": "mlm", "fill": "full", "data": {"train": str(path)}}
    else:
        name, task = "sentiment", {"type": "classification", "data": {"train": str(table(folder / "train.tsv", rows))}}
    length = LONG if kind == "pre-training" and device.type == "cuda" else MAX_LENGTH
    train = {"batch_tokens": tokens, "lr": 1e-4, "epochs": 1000, "eval_every": 10**6, "device": str(device)}
    return {
        "encoder": {**encoder_of(sizes), "max_length": length, "vocab": str(vocabulary(folder))},
        "tasks": {name: task},
        "chain": name,
        "train": train,
        "out": str(folder / "run"),
        "cache": str(folder / "cache"),
    }


def table_of(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def shown(value: object) -> str:
    """A number with its thousands told apart."""
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main())
