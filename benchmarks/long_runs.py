"""Parts of `durability.py` that take their time: two processes, saving beside training, a run of many minutes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from small_runs import recipe_of, report, write_data

import braid


def speed_of(command: list[str], out: Path, *, threads: int, skip: int = 10) -> float:
    """Seconds of a step (median) of a run in processes of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["tokens"] / line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    return statistics.median(seconds[skip:])


def written(recipe: braid.Recipe, path: Path) -> Path:
    """A recipe as a file for the command line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    return path


def scale(folder: Path, repeats: int = 3) -> dict[str, Any]:
    """Two gloo processes of one thread against one process of two threads, on the same global batches."""
    data = folder / "data"
    write_data(data)
    encoder = {"hidden_size": 256, "layers": 4, "heads": 4, "intermediate_size": 1024, "max_length": 96}
    common = {"max_steps": 40, "eval_every": 1000, "log_every": 1, "batch_rows": None, "precision": "auto"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    kinds = {
        "1 process x 2 threads": ([sys.executable], 2, 4096),
        "2 processes x 1 thread (ddp)": (torchrun, 1, 4096),
        "1 process x 1 thread, half of the batch": ([sys.executable], 1, 2048),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for repeat in range(repeats):
        for name, (start, threads, tokens) in kinds.items():
            out = folder / f"scale_{repeat}_{len(name)}"
            recipe = recipe_of(data, out, encoder=encoder, **{**common, "batch_tokens": tokens})
            path = written(recipe, folder / "recipes" / f"{out.name}.yaml")
            seconds[name].append(speed_of([*start, "-m", "braid", "train", str(path)], out, threads=threads))
            shutil.rmtree(out, ignore_errors=True)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    one, two, half = medians.values()
    ratio, overhead = one / two, two / half - 1
    report(
        "Two processes on one machine",
        {**{f"{name}: ms a step": round(1000 * value, 1) for name, value in medians.items()},
         "speed of 2 x 1 against 1 x 2": round(ratio, 2), "communication and waiting": f"{overhead:.0%} of a step"},
    )  # fmt: skip
    return {"two_processes_vs_two_threads": round(ratio, 3), "communication": round(overhead, 3)}


HELD = """
import sys, time
import braid
from braid.checkpoint.saver import Saver
begin, held = Saver.begin, []
def timed(self, prepare):
    start = time.perf_counter()
    begin(self, prepare)
    held.append(time.perf_counter() - start)
Saver.begin = timed
braid.train(braid.Recipe.load(sys.argv[1]))
print(*held[:-1], file=open(sys.argv[2], "w"))
"""
"""Trains and notes how long each save holds the training thread; the last one is waited for, and is left out."""


def saving(folder: Path, repeats: int = 3) -> dict[str, Any]:
    """What a save costs the steps beside it: a model of some 20 million parameters, saved every 20 steps or never, all
    cores training."""
    data = folder / "data"
    write_data(data)
    encoder = {"hidden_size": 512, "layers": 6, "heads": 8, "intermediate_size": 2048, "max_length": 96}
    common = {"max_steps": 90, "eval_every": 1000, "log_every": 1, "batch_rows": None, "batch_tokens": 2048}
    found: dict[str, list[float]] = {"never": [], "every 20 steps": []}
    held: list[float] = []
    for repeat in range(repeats):
        for name, every in (("never", None), ("every 20 steps", 20)):
            out = folder / f"saving_{repeat}_{every}"
            options = {**common, "precision": "auto", **({"save_every": every} if every else {})}
            path = written(recipe_of(data, out, encoder=encoder, **options), folder / "recipes" / f"{out.name}.yaml")
            environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
            command = [sys.executable, "-c", HELD, str(path), str(folder / "held")]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            held += [float(seconds) for seconds in (folder / "held").read_text().split()]
            lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            times = [line["time"] for line in lines if "time" in line]
            found[name].append((times[-2] - times[9]) / (len(times) - 11))  # the last step ends the run
            shutil.rmtree(out, ignore_errors=True)
    never, often = (statistics.median(values) for values in found.values())
    ratio, stall = often / never, statistics.median(held) / never
    report(
        "Saving in the background",
        {"ms a step, never saved": round(1000 * never, 1), "ms a step, saved every 20": round(1000 * often, 1),
         "ratio": round(ratio, 3), "ms that a save holds the training thread": round(1000 * statistics.median(held), 1),
         "of a step": f"{stall:.1%}"},
    )  # fmt: skip
    return {"saving_every_20_steps_vs_never": round(ratio, 3), "save_holds_of_a_step": round(stall, 3)}


def soak(folder: Path, minutes: float) -> dict[str, Any]:
    """A long run that evaluates and saves every 20 seconds or so: is anything growing?"""
    data = folder / "data"
    write_data(data)
    out = folder / "soak"
    probe = recipe_of(data, folder / "probe", max_steps=150, eval_every=1000, log_every=1)
    seconds = speed_of(
        [sys.executable, "-m", "braid", "train", str(written(probe, folder / "recipes" / "probe.yaml"))],
        folder / "probe",
        threads=1,
    )
    every = max(1, int(20 / seconds))
    options = {"eval_every": every, "save_every": every, "epochs": 100_000, "max_minutes": minutes, "log_every": 1000}
    path = written(recipe_of(data, out, **options), folder / "recipes" / "soak.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "braid", "train", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    samples = []
    began = time.monotonic()
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            fields = dict(line.split(":", 1) for line in status.splitlines())
            samples.append(
                (
                    time.monotonic() - began,
                    int(fields["VmRSS"].split()[0]) / 1024,
                    len(os.listdir(f"/proc/{process.pid}/fd")),
                    int(fields["Threads"]),
                )
            )
        except (OSError, KeyError):
            break
        time.sleep(1)
    code = process.wait()
    evaluations = sum("dev" in line for line in (out / "metrics.jsonl").read_text().splitlines())
    settled = [sample for sample in samples if sample[0] > 0.1 * samples[-1][0]]
    tenth = max(1, len(settled) // 10)
    first, last = settled[:tenth], settled[-tenth:]

    def mean(part: list[tuple[float, float, int, int]], column: int) -> float:
        return statistics.mean(sample[column] for sample in part)

    found = {
        "minutes": round(samples[-1][0] / 60, 1),
        "exit code (124: time over, saved)": code,
        "evaluations and saves": evaluations,
        "MiB, early and late": f"{mean(first, 1):.0f}, {mean(last, 1):.0f}",
        "open files, early and late": f"{mean(first, 2):.1f}, {mean(last, 2):.1f}",
        "threads, early and late": f"{mean(first, 3):.1f}, {mean(last, 3):.1f}",
    }
    report("A long run", found)
    return {"soak_memory_growth": round(mean(last, 1) / mean(first, 1) - 1, 3), **found}
