"""The training loop: steps of the plan, evaluations, checkpoints.

One step is one *global* batch of the plan, in one or more micro-batches; its losses are scaled by global counts.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from braid.balancing.base import Balancer
from braid.checkpoint.state import Progress, load_best, load_state, save_best, save_state
from braid.config.training import TrainConfig
from braid.data.batch import Batch
from braid.data.changes import Draw
from braid.data.groups import GroupData, drawn_rows, make_batch
from braid.data.packing import pad_fraction
from braid.data.plan import Plan, Step, split_step
from braid.errors import BraidError, Interrupted
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import Precision
from braid.model.network import BraidModel
from braid.model.precision import autocast
from braid.optim.build import build_optimizer, rate, set_rates
from braid.optim.groups import apply_freeze
from braid.training.best import best_metrics, score
from braid.training.loss import loss_scales, task_losses
from braid.training.progress import Progress as Display
from braid.training.progress import StepInfo

SAVE_SECONDS = 600
"""Without `train.save_every` the state is saved this often. Saving changes no result, so the clock may decide."""

MAX_BAD_STEPS = 10
"""Steps in a row with a loss or gradient that is not finite before training gives up."""


@dataclass
class TrainResult:
    """*steps* done, *seconds* and real *tokens* spent in training steps, dev scores by step, what was best."""

    steps: int
    seconds: float
    tokens: int
    best: Mapping[str, Any] | None
    history: list[tuple[int, Scores]] = field(default_factory=list)


@dataclass(eq=False)
class Trainer:
    """Trains a model along a plan. *weights*: loss weight by task; *dev*: groups to evaluate on; *run*: the run
    directory; *fingerprint*: hash of everything that fixes the course of the run."""

    model: BraidModel
    plan: Plan
    groups: Sequence[GroupData]
    dev: Sequence[GroupData]
    config: TrainConfig
    weights: Mapping[str, float]
    balancer: Balancer
    display: Display
    run: Path
    device: torch.device
    precision: Precision
    fingerprint: str = ""

    def __post_init__(self) -> None:
        self.heads = {name: (self.model.specs[name].task, head) for name, head in self.model.heads()}
        self.optimizer = build_optimizer(self.model.encoder, self.heads, self.config)
        self.steps_by_epoch = self.plan.steps()
        planned = sum(self.steps_by_epoch)
        self.total = min(planned, self.config.max_steps) if self.config.max_steps else planned
        self.progress = Progress(fingerprint=self.fingerprint)
        self.wanted = best_metrics(self.model.specs, self.config.best)
        self.history: list[tuple[int, Scores]] = []
        self.bad_steps = 0
        self._signal: int | None = None
        self._saved_at = time.monotonic()

    def resume(self, state: Path, progress: Progress) -> None:
        """Go on from a saved state: bitwise as if there had been no stop."""
        load_state(state, self.model, self.optimizer, device=self.device)
        self.progress = progress

    def train(self) -> TrainResult:
        """All steps that are left; afterwards the model holds the best weights (or the last, without a dev set).

        Raises Interrupted after SIGINT or SIGTERM, with the state saved."""
        self.display.start()
        self.model.train()
        try:
            with _signals(self):
                self._steps()
        finally:
            self.display.stop()
        best = load_best(self.run, self.model) if self.progress.best_step is not None else None
        return TrainResult(self.progress.step, self.progress.seconds, self.progress.tokens, best, self.history)

    def _steps(self) -> None:
        ends = set(_cumulative(self.steps_by_epoch))
        for epoch, batches in self._upcoming():
            if self.progress.step >= self.total or self._stale():
                break
            self._step(epoch, batches)
            step = self.progress.step
            last = step >= self.total
            due = step % self.config.eval_every == 0 if self.config.eval_every else step in ends
            if self.dev and (due or last):
                self._evaluate()
            if self._signal is not None:
                self._save()
                raise Interrupted(self._signal, str(self.run))
            if not last and self._save_due():
                self._save()

    def _save_due(self) -> bool:
        if self.config.save_every:
            return self.progress.step % self.config.save_every == 0
        return time.monotonic() - self._saved_at > SAVE_SECONDS

    def _stale(self) -> bool:
        if self.config.patience is None or self.progress.stale < self.config.patience:
            return False
        self.display.message(f"stopping early: no better evaluation in {self.progress.stale} rounds")
        return True

    def _upcoming(self) -> Iterator[tuple[float, list[Batch]]]:
        """Batches of the steps that are left, packed one step ahead in a thread of its own."""
        with ThreadPoolExecutor(1, thread_name_prefix="braid-pack") as pool:
            waiting = None
            for epoch, draw, step in self._rest():
                future = pool.submit(self._pack, step, draw)
                if waiting is not None:
                    yield waiting[0], waiting[1].result()
                waiting = (epoch, future)
            if waiting is not None:
                yield waiting[0], waiting[1].result()

    def _rest(self) -> Iterator[tuple[float, Draw, Step]]:
        done = 0
        for epoch, size in enumerate(self.steps_by_epoch):
            if done + size > self.progress.step:
                steps = self.plan.epoch(epoch)
                for k in range(max(0, self.progress.step - done), size):
                    yield epoch + (k + 1) / size, Draw(self.plan.seed, epoch, done + k), steps[k]
            done += size

    def _pack(self, step: Step, draw: Draw) -> list[Batch]:
        parts = split_step(step, self.plan.lengths, self.config.accumulate)
        return [make_batch(self.groups, drawn_rows(self.groups, part), draw=draw) for part in parts]

    def _step(self, epoch: float, batches: list[Batch]) -> None:
        began = time.perf_counter()
        step = self.progress.step
        apply_freeze(self.model.encoder, self.heads, self.config.freeze, step)
        factor = rate(self.config, self.total, step)
        set_rates(self.optimizer, factor)
        losses = self.backward(batches)
        norm = self._clip()
        if math.isfinite(norm):
            self.optimizer.step()
            self.bad_steps = 0
        else:
            self._bad_step(step, losses, batches)
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.n_tokens for batch in batches)
        self.progress.step += 1
        self.progress.tokens += tokens
        seconds = time.perf_counter() - began
        self.progress.seconds += seconds
        places = sum(batch.n_tokens / max(1e-9, 1 - pad_fraction(batch)) for batch in batches)
        info = StepInfo(
            step=self.progress.step,
            epoch=epoch,
            losses=losses,
            lr=self.config.lr * factor,
            tokens=tokens,
            seconds=seconds,
            pad_fraction=1 - tokens / places if places else 0.0,
        )
        self.display.step(info)
        if self.progress.step % (self.config.log_every or 10) == 0 or self.progress.step == self.total:
            self._log(
                {
                    "step": info.step,
                    "epoch": round(epoch, 4),
                    "loss": losses,
                    "lr": info.lr,
                    "tokens": tokens,
                    "tokens_per_second": round(tokens / seconds),
                    "grad_norm": norm,
                }
            )

    def backward(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Add one global batch's gradient to every parameter; mean loss by task."""
        scales = loss_scales(batches, self.weights, self.config.normalise)
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        shared = [parameter for parameter in self.model.encoder.parameters() if parameter.requires_grad]
        for batch in batches:
            moved = batch.to(self.device)
            with autocast(self.precision, self.device):
                logits = self.model(moved)
            losses = task_losses(self.model, moved, logits)
            scaled = {
                name: value * scales[name] for name, value in losses.items() if name in scales and value.requires_grad
            }
            self.balancer.backward(scaled, shared)
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
                counts[name] = counts.get(name, 0) + batch.targets[name].count
        return {name: float(value) / max(1, counts[name]) for name, value in sums.items()}

    def _clip(self) -> float:
        """The gradient's norm, clipped to `train.clip` where that is set."""
        gradients = [p for p in self.model.parameters() if p.grad is not None]
        limit = self.config.clip if self.config.clip is not None else math.inf
        return float(nn.utils.clip_grad_norm_(gradients, limit)) if gradients else 0.0

    def _bad_step(self, step: int, losses: Mapping[str, float], batches: Sequence[Batch]) -> None:
        self.bad_steps += 1
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self.display.message(f"step {step + 1}: the gradient is not finite (losses: {shown}); the step is left out")
        if self.bad_steps >= MAX_BAD_STEPS:
            rows = [(g, row) for batch in batches for g, row in batch.origins][:5]
            places = [str(self.groups[g].place(row)) for g, row in rows]
            raise BraidError(
                f"{self.bad_steps} steps in a row had no finite gradient (last losses: {shown}; rows from "
                f"{', '.join(places)} ...). Try a lower train.lr, train.clip=1.0 or train.precision=fp32."
            )

    def _evaluate(self) -> None:
        scores = evaluate(
            self.model,
            self.dev,
            tune=True,
            batch_tokens=self.config.eval_batch_tokens,
            device=self.device,
            precision=self.precision,
        )
        step = self.progress.step
        value = score(scores, self.wanted, self.model.specs)
        better = value is not None and (self.progress.best_score is None or value > self.progress.best_score)
        self.history.append((step, scores))
        if better:
            self.progress.best_step, self.progress.best_score, self.progress.stale = step, value, 0
            save_best(self.run, self.model, {"step": step, "score": value, "by": self.wanted, "dev": scores})
        else:
            self.progress.stale += 1
        self._log({"step": step, "dev": scores, "score": value, "best": better})
        self.display.evaluated(step, _main_first(scores, best_metrics(self.model.specs, [])), better)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        save_state(self.run, self.model, self.optimizer, self.progress, keep=self.config.keep, device=self.device)

    def _log(self, line: Mapping[str, Any]) -> None:
        with open(self.run / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class _signals:
    """While inside, SIGINT and SIGTERM end training after the step under way; a second one ends it at once."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if self.trainer._signal is not None:
            raise KeyboardInterrupt
        self.trainer._signal = number
        # A signal comes in the middle of anything, an import or a line being drawn; only a bare write is safe here.
        os.write(2, b"\nstopping after this step and saving; once more to stop at once\n")

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _main_first(scores: Scores, main: Mapping[str, str]) -> Scores:
    """The scores with each task's main metric in front, which is the one that a display shows."""
    return {
        task: {metric: found[metric] for metric in sorted(found, key=lambda name: name != main[task])}
        for task, found in scores.items()
    }


def _cumulative(sizes: Sequence[int]) -> Iterator[int]:
    total = 0
    for size in sizes:
        total += size
        yield total
