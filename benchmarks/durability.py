"""What survives: kills, signals, long runs, several processes; and the same for transformers' Trainer.

    python benchmarks/durability.py [kills] [terms] [trainer] [saving] [scale] [soak] [--kills 200] [--minutes 20]

`kills`: a small training is killed (SIGKILL) again and again, half of the times while it writes, and resumed each time;
every run must end with the weights of the one that nobody killed, bit by bit. `terms`: the same with SIGTERM, after
which no step may be lost. `trainer`: the harness of `kills` on transformers' Trainer, resumed from its newest
checkpoint. `saving`: what saving in the background costs a step. `scale`: two processes of one thread against one of
two. `soak`: memory, files and threads of a long run that evaluates and saves all the time.

Prints a table for each and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

import braid
from braid.checkpoint import state as braid_state
from braid.checkpoint.state import newest_state, read_progress
from braid.errors import BraidError, Interrupted
from braid.tools.demo_data import write_demo_data
from braid.training.trainer import Trainer as BraidTrainer

TINY = {"type": "bert", "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_length": 48}
SAVING, STEP = 0, 1
"""Bytes that a trained process shares with who kills it: whether it is writing; the step it has done (4 bytes)."""


def recipe_of(data: Path, out: Path, *, encoder: dict[str, Any] | None = None, **train: Any) -> braid.Recipe:
    """The demo's four tasks, small."""
    files = {
        "entities": ("notes_{}.jsonl", {"type": "tagging", "crf": True}),
        "sentiment": ("notes_{}.jsonl", {"type": "classification"}),
        "segmentation": ("words_{}.txt", {"type": "tagging"}),
        "closeness": ("pairs_{}.tsv", {"type": "regression"}),
    }
    tasks = {}
    for name, (pattern, options) in files.items():
        found = {split: str(data / pattern.format(split)) for split in ("train", "dev")}
        tasks[name] = {**options, "data": {**found, **({"source": "segmented"} if name == "segmentation" else {})}}
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


class Child:
    """A forked process that trains, with a few bytes of memory shared."""

    def __init__(self, work: Callable[[mmap.mmap], None]) -> None:
        self.memory = mmap.mmap(-1, 16)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, 1)
                os.dup2(devnull, 2)
                work(self.memory)
                code = 0
            except Interrupted as stopped:
                code = stopped.code
            except BaseException as error:
                code = 2 if isinstance(error, BraidError) else 1
            finally:
                os._exit(code)

    @property
    def saving(self) -> bool:
        """Whether it is writing now."""
        return self.memory[SAVING] == 1

    @property
    def step(self) -> int:
        """The last step that it has done."""
        return int.from_bytes(self.memory[STEP : STEP + 4], "little")

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def wait(self) -> int:
        """Its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def warm(folder: Path) -> Path:
    """The data; and one step in this process, so that those forked from it need not import everything anew."""
    data = folder / "data"
    write_data(data)
    if not (folder / "warm").exists():
        braid.train(recipe_of(data, folder / "warm", max_steps=1), say=quiet)
    return data


def train_watched(recipe: braid.Recipe, memory: mmap.mmap) -> None:
    """Train or resume, telling the memory what is going on."""
    inner, step = braid_state.replace_directory, BraidTrainer._step

    def replace(*given: Any) -> None:
        memory[SAVING] = 1
        inner(*given)
        memory[SAVING] = 0

    def stepped(self: BraidTrainer, *given: Any) -> Any:
        done = step(self, *given)
        memory[STEP : STEP + 4] = self.progress.step.to_bytes(4, "little")
        return done

    braid_state.replace_directory = replace
    BraidTrainer._step = stepped  # type: ignore[method-assign]
    resume = newest_state(Path(recipe.out)) is not None
    braid.train(recipe, resume=resume, overwrite=not resume, say=quiet)


def kill_somewhere(child: Child, chance: random.Random, *, in_save: bool, longest: float) -> tuple[bool, bool]:
    """Kill it at a random moment, or while it writes. Whether it was killed (it may have ended before), and whether it
    was writing."""
    until = time.monotonic() + (30.0 if in_save else chance.uniform(0.0, longest))
    while time.monotonic() < until:
        if child.ended() is not None:
            return False, False
        if in_save and child.saving:
            time.sleep(chance.uniform(0.0, 0.004))
            break
        time.sleep(0.0002 if in_save else 0.005)
    os.kill(child.pid, signal.SIGKILL)
    code = child.wait()
    return code == -signal.SIGKILL, child.saving


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    """All weights of a finished run."""
    return {
        f"{path.relative_to(directory)}:{name}": tensor
        for path in sorted(directory.rglob("*.safetensors"))
        if "state" not in path.parts
        for name, tensor in load_file(path).items()
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def kills(folder: Path, wanted: int) -> dict[str, Any]:
    """`wanted` kills of Braid's training."""
    data = warm(folder)
    options = {"max_steps": 60, "eval_every": 15, "save_every": 3}
    straight = Child(lambda memory: train_watched(recipe_of(data, folder / "straight", **options), memory))
    began = time.monotonic()
    assert straight.wait() == 0
    seconds = time.monotonic() - began
    expected = weights_of(folder / "straight")
    chance = random.Random(1)
    killed = writing = unreadable = unequal = runs = 0
    while killed < wanted:
        runs += 1
        out = folder / f"run{runs}"
        here = chance.randint(5, 12)
        while True:
            child = Child(lambda memory, out=out: train_watched(recipe_of(data, out, **options), memory))
            if here > 0 and killed < wanted:
                dead, in_save = kill_somewhere(child, chance, in_save=chance.random() < 0.5, longest=seconds)
                if dead:
                    here -= 1
                    killed += 1
                    writing += in_save
                    continue
                break
            code = child.wait()
            unreadable += code != 0
            break
        unequal += not same(weights_of(out), expected)
        shutil.rmtree(out, ignore_errors=True)
    found = {
        "kills": killed,
        "while writing": writing,
        "runs": runs,
        "failed resumes": unreadable,
        "unequal ends": unequal,
    }
    report("SIGKILL, Braid", found)
    return found


def terms(folder: Path, wanted: int = 20) -> dict[str, Any]:
    """`wanted` SIGTERMs, and whether a step was lost."""
    data = warm(folder)
    options = {"max_steps": 200, "eval_every": 50}
    straight = Child(lambda memory: train_watched(recipe_of(data, folder / "straight_term", **options), memory))
    assert straight.wait() == 0
    expected = weights_of(folder / "straight_term")
    chance = random.Random(2)
    sent = lost = other = unequal = runs = 0
    while sent < wanted:
        runs += 1
        out = folder / f"term{runs}"
        while True:
            child = Child(lambda memory, out=out: train_watched(recipe_of(data, out, **options), memory))
            target = (read_progress(found).step if (found := newest_state(out)) else 0) + chance.randint(1, 60)
            while child.step < target and child.ended() is None:
                time.sleep(0.001)
            try:
                os.kill(child.pid, signal.SIGTERM)
                at = child.step
                code = child.wait()
            except (ProcessLookupError, ChildProcessError):
                break
            if code == 0:
                break
            sent += 1
            other += code != 128 + signal.SIGTERM
            found = newest_state(out)
            lost += found is None or read_progress(found).step < at
        unequal += not same(weights_of(out), expected)
    result = {"signals": sent, "steps lost": lost, "other exit codes": other, "runs": runs, "unequal ends": unequal}
    report("SIGTERM, Braid", result)
    return result


def trainer_kills(folder: Path, wanted: int) -> dict[str, Any]:
    """The same harness on transformers' Trainer: the model, the number of steps and saves as in `kills`."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )
    from transformers.trainer_utils import get_last_checkpoint

    generator = torch.Generator().manual_seed(0)
    rows = [
        {
            "input_ids": torch.randint(5, 800, (32,), generator=generator),
            "labels": torch.randint(0, 2, (), generator=generator),
        }
        for _ in range(2000)
    ]

    def work(out: Path, memory: mmap.mmap) -> None:
        class Watch(TrainerCallback):
            def on_step_end(self, *given: Any, **more: Any) -> None:
                memory[SAVING] = 0

        set_seed(1)
        config = BertConfig(
            vocab_size=800, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        arguments = TrainingArguments(
            str(out), max_steps=60, per_device_train_batch_size=16, save_steps=3, save_total_limit=2, seed=1,
            learning_rate=1e-3, report_to=[], disable_tqdm=True, logging_strategy="no", use_cpu=True,
        )  # fmt: skip
        model = BertForSequenceClassification(config)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Watch()])
        save = trainer._save_checkpoint

        def saving(*given: Any, **more: Any) -> Any:
            memory[SAVING] = 1
            try:
                return save(*given, **more)
            finally:
                memory[SAVING] = 0

        trainer._save_checkpoint = saving
        last = get_last_checkpoint(str(out)) if out.is_dir() else None
        trainer.train(resume_from_checkpoint=last)
        trainer.save_model(str(out / "final"))

    straight = Child(lambda memory: work(folder / "hf_straight", memory))
    began = time.monotonic()
    assert straight.wait() == 0
    seconds = time.monotonic() - began
    expected = load_file(folder / "hf_straight" / "final" / "model.safetensors")
    chance = random.Random(1)
    killed = writing = failed = unequal = runs = 0
    while killed < wanted:
        runs += 1
        out = folder / f"hf{runs}"
        here = chance.randint(5, 12)
        while True:
            child = Child(lambda memory, out=out: work(out, memory))
            if here > 0 and killed < wanted:
                dead, in_save = kill_somewhere(child, chance, in_save=chance.random() < 0.5, longest=seconds)
                if dead:
                    here -= 1
                    killed += 1
                    writing += in_save
                    continue
                if not (out / "final").is_dir():  # it ended by itself, with an error: its newest checkpoint is damaged
                    failed += 1
                    newest = get_last_checkpoint(str(out))
                    if newest is None:
                        break
                    shutil.rmtree(newest)  # what a user would do by hand
                    continue
                break
            if child.wait() != 0:
                failed += 1
                newest = get_last_checkpoint(str(out))
                if newest is None:
                    break
                shutil.rmtree(newest)
                continue
            break
        final = out / "final" / "model.safetensors"
        unequal += not (final.is_file() and same(load_file(final), expected))
        shutil.rmtree(out, ignore_errors=True)
    found = {
        "kills": killed,
        "while writing": writing,
        "runs": runs,
        "failed resumes": failed,
        "unequal ends": unequal,
    }
    report("SIGKILL, transformers' Trainer", found)
    return found


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


def saving(folder: Path, repeats: int = 3) -> dict[str, Any]:
    """What a save costs the steps beside it: a model of some 20 million parameters, saved every 20 steps or never."""
    data = folder / "data"
    write_data(data)
    encoder = {"hidden_size": 512, "layers": 6, "heads": 8, "intermediate_size": 2048, "max_length": 96}
    common = {"max_steps": 60, "eval_every": 1000, "log_every": 1, "batch_rows": None, "batch_tokens": 2048}
    found: dict[str, list[float]] = {"never": [], "every 20 steps": []}
    for repeat in range(repeats):
        for name, every in (("never", None), ("every 20 steps", 20)):
            out = folder / f"saving_{repeat}_{every}"
            options = {**common, "precision": "auto", **({"save_every": every} if every else {})}
            path = written(recipe_of(data, out, encoder=encoder, **options), folder / "recipes" / f"{out.name}.yaml")
            environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
            command = [sys.executable, "-m", "braid", "train", str(path)]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            times = [line["time"] for line in lines if "time" in line]
            found[name].append((times[-1] - times[9]) / (len(times) - 10))
            shutil.rmtree(out, ignore_errors=True)
    never, often = (statistics.median(values) for values in found.values())
    ratio = often / never
    report(
        "Saving in the background",
        {"ms a step, never saved": round(1000 * never, 1), "ms a step, saved every 20": round(1000 * often, 1),
         "ratio": round(ratio, 3)},
    )  # fmt: skip
    return {"saving_every_20_steps_vs_never": round(ratio, 3)}


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


def report(title: str, found: dict[str, Any]) -> None:
    """A table of two columns."""
    table = Table("what", "figure", title=title, title_justify="left")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console(width=100).print(table)


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["kills", "terms", "trainer", "saving", "scale", "soak"]
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(names))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    wanted = options.parts or names
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; use {', '.join(names)}")
    torch.set_num_threads(1)
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work: dict[str, Callable[[], dict[str, Any]]] = {
            "kills": lambda: kills(Path(folder), options.kills),
            "terms": lambda: terms(Path(folder)),
            "trainer": lambda: trainer_kills(Path(folder), options.kills),
            "saving": lambda: saving(Path(folder)),
            "scale": lambda: scale(Path(folder)),
            "soak": lambda: soak(Path(folder), options.minutes),
        }
        for name in wanted:
            out[name] = work[name]()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
