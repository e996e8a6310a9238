"""What exporting brings on a processor: our own path in fp32 and bf16, ONNX Runtime in fp32 and int8; 1 and 8 tasks.

    python benchmarks/export.py [--repeats 3] [--calls 200] [--texts 512]

The runs of `infer.py`. One text of about 20 characters a call, another one each time (p50 in milliseconds), and texts a
second of a long list; tokenising and decoding are part of both. All sides use the same number of threads.

`cpu` and `cpu_texts` are the same by the processor's time of all threads, which other programs do not disturb.

Prints a table and, last, one line of JSON: `onnx_vs_own_1` (how many times sooner one text is done than by our own path
in fp32), `int8_vs_onnx_1`, `int8_vs_own_1`, `texts_onnx_vs_own_1` (of the list), `cpu_onnx_vs_own_1` ... and the same
for 8 tasks.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import infer
from latency import CHARACTERS, WARMUP
from texts import reviews
from versus import Found, contest, rate

TASKS = (1, 8)
SIDES = ("own fp32", "own bf16", "onnx fp32", "onnx int8")


def setup(options: argparse.Namespace) -> None:
    """The runs, and their exports. The runs are a step old, so their int8 figures mean nothing and may fall."""
    from braid.export.exporting import export

    infer.setup(options, TASKS)
    for n in TASKS:
        for side in SIDES[2:]:
            if not folder(options, side, n).exists():
                run = options.folder / f"run_{n}"
                export(run, out=folder(options, side, n), int8=side.endswith("int8"), tolerance=1.0)


def folder(options: argparse.Namespace, side: str, n: int) -> Path:
    """The directory that a side loads."""
    kind, precision = side.split()
    path: Path = options.folder / (f"run_{n}" if kind == "own" else f"run_{n}_{precision}")
    return path


def turn(options: argparse.Namespace, side: str, n: int) -> Found:
    import braid

    own = {"precision": side.split()[1]} if side.startswith("own") else {}
    model = braid.load(folder(options, side, n), **own)
    found = timed(model, options.calls)
    given = infer.texts(options.texts)
    list(model.stream(given[: infer.WARMUP]))
    began, cpu = time.perf_counter(), time.process_time()
    done = sum(len(result) > 0 for result in model.stream(given[infer.WARMUP :]))
    found["texts"] = done / (time.perf_counter() - began)
    found["cpu_texts"] = done / (time.process_time() - cpu)
    return found


def timed(model: Any, calls: int) -> Found:
    """p50 and p99 of one short text, and the p50 of its processor time, in milliseconds."""
    wall, cpu = [], []
    for number, (_, text) in enumerate(reviews(WARMUP + calls)):
        began, busy = time.perf_counter(), time.process_time()
        model(text[:CHARACTERS])
        if number >= WARMUP:
            cpu.append(1000 * (time.process_time() - busy))
            wall.append(1000 * (time.perf_counter() - began))
    return {
        "rate": statistics.median(wall),
        "p99": sorted(wall)[int(0.99 * len(wall))],
        "cpu": statistics.median(cpu),
    }


def report(turns: dict[str, list[Found]]) -> Found:
    out: Found = {}
    for n in TASKS:
        there = {side: turns[f"{side}, {n} tasks"] for side in SIDES if f"{side}, {n} tasks" in turns}
        pairs = {"onnx_vs_own": (2, 0), "int8_vs_onnx": (3, 2), "int8_vs_own": (3, 0), "onnx_vs_bf16": (2, 1)}
        for key, (one, other) in pairs.items():
            if SIDES[one] in there and SIDES[other] in there:
                quick, slow = there[SIDES[one]], there[SIDES[other]]
                out[f"{key}_{n}"] = round(rate(slow) / rate(quick), 3)
                out[f"cpu_{key}_{n}"] = round(rate(slow, "cpu") / rate(quick, "cpu"), 3)
                for texts in ("texts", "cpu_texts"):
                    out[f"{texts}_{key}_{n}"] = round(rate(quick, texts) / rate(slow, texts), 3)
    return out


def sides() -> dict[str, Any]:
    return {
        f"{side}, {n} tasks": lambda options, side=side, n=n: turn(options, side, n) for n in TASKS for side in SIDES
    }


if __name__ == "__main__":
    contest(
        sides(),
        doc=__doc__,
        unit="ms a text, p50",
        report=report,
        setup=setup,
        arguments=lambda parser: (
            parser.add_argument("--calls", type=int, default=200),
            parser.add_argument("--texts", type=int, default=512),
        ),
    )
