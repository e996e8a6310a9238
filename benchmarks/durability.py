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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from long_runs import saving, scale, soak
from safetensors.torch import load_file
from small_runs import quiet, recipe_of, report, write_data

import braid
from braid.checkpoint import state as braid_state
from braid.checkpoint.state import newest_state, read_progress
from braid.errors import BraidError, Interrupted
from braid.training.trainer import Trainer as BraidTrainer

SAVING, STEP = 0, 1
"""Bytes that a trained process shares with who kills it: whether it is writing; the step it has done (4 bytes)."""


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
