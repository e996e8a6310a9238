"""Time from one short text to its predictions: 1 and 8 tasks, against transformers' pipelines.

    python benchmarks/latency.py [--repeats 3] [--calls 200]

The runs of `infer.py`. One text of about 20 characters a call, another one each time. The pipelines as their
documentation shows them (fp32) and tuned (bf16 where the machine has it and it is faster for one text).

Prints a table and, last, one line of JSON: ratios of p50 and p99, `vs_tuned_1`, `vs_tuned_1_p99`, `vs_default_1` ...
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import infer
import torch
from texts import reviews
from versus import Found, contest, rate

TASKS = (8, 1)
WARMUP = 20
CHARACTERS = 20


def timed(call: Callable[[str], Any], calls: int) -> Found:
    """p50 and p99 of a call, in milliseconds."""
    texts = [text[:CHARACTERS] for _, text in reviews(WARMUP + calls)]
    seconds = []
    for number, text in enumerate(texts):
        began = time.perf_counter()
        call(text)
        if number >= WARMUP:
            seconds.append(time.perf_counter() - began)
    seconds.sort()
    return {"rate": 1000 * seconds[len(seconds) // 2], "p99": 1000 * seconds[int(0.99 * len(seconds))]}


def ours(options: argparse.Namespace, n: int) -> Found:
    import braid

    return timed(braid.load(options.folder / f"run_{n}"), options.calls)


def pipelines(options: argparse.Namespace, n: int, *, half: bool) -> Found:
    dtype = torch.bfloat16 if half else torch.float32
    runs = [infer.pipeline_of(options, kind, dtype) for kind in infer.kinds(n)]
    return timed(lambda text: [run(text) for run in runs], options.calls)


def report(turns: dict[str, list[Found]]) -> Found:
    out: Found = {}
    for n in TASKS:
        one = turns.get(f"braid, {n} tasks")
        peers = {"vs_default": turns.get(f"{n} pipelines"), "vs_bf16": turns.get(f"{n} pipelines, bf16")}
        for key, other in peers.items():
            if one and other:
                out[f"{key}_{n}"] = round(rate(other) / rate(one), 3)
                out[f"{key}_{n}_p99"] = round(rate(other, "p99") / rate(one, "p99"), 3)
        if f"vs_bf16_{n}" in out and f"vs_default_{n}" in out:
            out[f"vs_tuned_{n}"] = min(out[f"vs_bf16_{n}"], out[f"vs_default_{n}"])
    return out


def sides() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for n in TASKS:
        found[f"braid, {n} tasks"] = lambda options, n=n: ours(options, n)
        found[f"{n} pipelines"] = lambda options, n=n: pipelines(options, n, half=False)
        found[f"{n} pipelines, bf16"] = lambda options, n=n: pipelines(options, n, half=True)
    return found


if __name__ == "__main__":
    contest(
        sides(),
        doc=__doc__,
        unit="ms a text, p50",
        report=report,
        setup=lambda options: infer.setup(options, TASKS),
        arguments=lambda parser: parser.add_argument("--calls", type=int, default=200),
    )
