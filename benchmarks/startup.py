"""How long it takes until something happens: `braid --help`, a prediction of one line (of a run, and of its export to
ONNX), the first step of training.

    python benchmarks/startup.py [--repeats 5]

A tiny model and a recipe whose data are cached, made by the demo's generator; whole processes, from start to end.

Prints a table and, last, one line of JSON: seconds (medians); with `, cpu` those of the processor alone, which other
programs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from small_runs import quiet, recipe_of, report, write_data

import braid
from braid.export.exporting import export


def seconds(command: list[str]) -> tuple[float, float]:
    """Of a whole process, on the clock and of the processor."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def main() -> None:
    """Everything once to warm the disk's cache, then in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data")
        braid.train(recipe_of(folder / "data", folder / "run", max_steps=2, eval_every=1000), say=quiet)
        export(folder / "run", out=folder / "exported", tolerance=1.0)
        one_step = recipe_of(folder / "data", folder / "first", max_steps=1, eval_every=1000)
        (folder / "first.yaml").write_text(one_step.to_yaml(), encoding="utf-8")
        (folder / "line.txt").write_text("Ada Lovelace came to London.\n", encoding="utf-8")
        start = [sys.executable, "-m", "braid"]
        commands = {
            "braid --help": [*start, "--help"],
            "braid predict, one line": [*start, "predict", str(folder / "run"), str(folder / "line.txt")],
            "braid predict, one line, exported": [
                *start,
                "predict",
                str(folder / "exported"),
                str(folder / "line.txt"),
            ],
            "braid train, one step": [*start, "train", str(folder / "first.yaml"), "--overwrite"],
        }
        found: dict[str, list[float]] = {}
        for repeat in range(options.repeats + 1):
            for name, command in commands.items():
                taken, cpu = seconds(command)
                if repeat:
                    found.setdefault(name, []).append(taken)
                    found.setdefault(f"{name}, cpu", []).append(cpu)
    medians = {name: round(statistics.median(times), 2) for name, times in found.items()}
    report("Start-up, seconds", medians)
    print(json.dumps(medians), flush=True)


if __name__ == "__main__":
    main()
