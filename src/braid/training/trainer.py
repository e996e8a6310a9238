"""The training loop: steps of the plan, evaluations, checkpoints.

One step is one *global* batch of the plan, in one or more micro-batches; its losses are scaled by global counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braid.balancing.base import Balancer
from braid.checkpoint.saver import Saver
from braid.checkpoint.state import Progress, best_writer, load_best, load_more, load_state, state_writer
from braid.config.training import TrainConfig
from braid.data.batch import Batch
from braid.data.changes import Draw
from braid.data.groups import GroupData, drawn_rows, make_batch
from braid.data.packing import pad_fraction
from braid.data.plan import Plan, Step, split_step
from braid.errors import Interrupted
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import Precision
from braid.model.network import BraidModel
from braid.model.precision import autocast
from braid.optim.adamw import AdamW, keep_rows
from braid.optim.build import build_optimizer, rate, set_rates
from braid.optim.groups import apply_freeze
from braid.parallel.world import ALONE, World
from braid.training.best import best_metrics, score
from braid.training.distillation.objective import Distillation
from braid.training.engine import engine_of, padded, recompute_blocks
from braid.training.log import METRICS, append, forget_after
from braid.training.loss import Counts, count, loss_scales
from braid.training.progress import Progress as Display
from braid.training.progress import StepInfo
from braid.training.regularised import Regularised
from braid.training.stopping import Stopping
from braid.training.trouble import is_out_of_memory, not_finite, out_of_memory, shown

SAVE_SECONDS = 600
"""Without `train.save_every` the state is saved this often. Saving changes no result, so the clock may decide."""


@dataclass
class TrainResult:
    """*steps* done, *seconds* and real *tokens* spent in training steps, dev scores by step, what was best."""

    steps: int
    seconds: float
    tokens: int
    best: Mapping[str, Any] | None
    history: list[tuple[int, Scores]] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """A step of the plan: its *epoch*, the steps done before that (*start*), the *part* of the epoch that is done
    after it; the batch as the plan knows it (*step*, *draw*); whether it *ends_epoch*, and is the *last* of all."""

    epoch: int
    start: int
    part: float
    step: Step
    draw: Draw
    ends_epoch: bool
    last: bool


@dataclass(frozen=True)
class Share:
    """What this process computes of one global batch: *batches* are its parts, at most *accumulate*, the last *ghosts*
    of which count nothing."""

    place: Place
    accumulate: int
    batches: list[Batch]
    ghosts: int

    @property
    def counted(self) -> list[Batch]:
        """The parts that are no ghosts."""
        return self.batches[: len(self.batches) - self.ghosts]


@dataclass(eq=False)
class Trainer:
    """Trains a model along a plan. *total*: steps that are expected, over which the schedule goes; *weights*: loss
    weight by task; *dev*: groups to evaluate on; *run*: the run directory; *course*: everything that fixes the course
    of the run, by dotted name; *world*: the processes that train together; *changed*: says which data files are no
    longer what they were; *distilled*: what teachers add to the losses."""

    model: BraidModel
    plan: Plan
    total: int
    groups: Sequence[GroupData]
    dev: Sequence[GroupData]
    config: TrainConfig
    weights: Mapping[str, float]
    balancer: Balancer
    display: Display
    run: Path
    device: torch.device
    precision: Precision
    course: Mapping[str, Any] = field(default_factory=dict)
    world: World = ALONE
    changed: Callable[[], list[str]] = list
    distilled: Distillation | None = None

    def __post_init__(self) -> None:
        self.regularised = Regularised(self.model, self.config.regularisers)
        objective = self.regularised.objective
        if self.distilled is not None:
            # Around the regularisers: what a teacher says stands among the targets of all their passes.
            objective = self.distilled = replace(self.distilled, inner=objective, total=self.total)
        self.engine = engine_of(self.model, objective, self.config.parallel, self.world, self.device)
        if self.config.activation_checkpointing:
            recompute_blocks(self.model)
        self.heads = {name: (self.model.specs[name].task, head) for name, head in self.model.heads()}
        self.optimizer = build_optimizer(self.model.encoder, self.heads, self.config, self.model.training_only)
        if isinstance(self.optimizer, AdamW) and self.world.size == 1 and self.device.type == "cpu":
            keep_rows(self.model)
        self.accumulate = self.config.accumulate
        self.progress = Progress(course=dict(self.course))
        self.wanted = best_metrics(self.model.specs, self.config.best)
        self.history: list[tuple[int, Scores]] = []
        self.bad_steps = 0
        self.stopping = Stopping(self.config.max_minutes)
        self.saver = Saver()
        self._saved_at = time.monotonic()

    def resume(self, state: Path, progress: Progress) -> None:
        """Go on from a saved state: bitwise as if there had been no stop."""
        load_state(state, self.model, self.optimizer, device=self.device, world=self.world)
        self.regularised.load(load_more(state))
        self.progress = progress
        if self.world.first:
            forget_after(self.run / METRICS, progress.step)

    def train(self) -> TrainResult:
        """All steps that are left; afterwards the model holds the best weights (or the last, without a dev set), and
        is an ordinary module.

        Raises Interrupted after SIGINT, SIGTERM or the time limit, with the state saved."""
        self.display.start()
        self.model.train()
        try:
            with self.stopping:
                self._steps()
                self.saver.wait()
        finally:
            self.display.stop()
            self.saver.close()
        self.model = self.engine.finished()
        self.regularised.finish()
        self.world.wait()  # the best weights are there for all
        best = load_best(self.run, self.model) if self.progress.best_step is not None else None
        return TrainResult(self.progress.step, self.progress.seconds, self.progress.tokens, best, self.history)

    def _steps(self) -> None:
        for share in self._upcoming():
            if self._stale():
                break
            signal, late, save = self._step(share)
            step, last = self.progress.step, share.place.last
            due = step % self.config.eval_every == 0 if self.config.eval_every else share.place.ends_epoch
            if self.dev and (due or last):
                self._evaluate()
            if self.world.size == 1:
                signal = self.stopping.number or 0  # the newest word, where nobody else must hear it too
            if signal or (late and not last):
                self._save()
                self.saver.wait()
                raise Interrupted(signal or None, str(self.run))
            if save and not last:
                self._save()

    def _stale(self) -> bool:
        if self.config.patience is None or self.progress.stale < self.config.patience:
            return False
        self.display.message(f"stopping early: no better evaluation in {self.progress.stale} rounds")
        return True

    def _upcoming(self) -> Iterator[Share]:
        """Shares of the steps that are left, packed one step ahead in a thread of its own."""
        with ThreadPoolExecutor(1, thread_name_prefix="braid-pack") as pool:
            waiting = None
            for place in self._rest():
                future = pool.submit(self._pack, place)
                if waiting is not None:
                    yield waiting.result()
                waiting = future
            if waiting is not None:
                yield waiting.result()

    def _rest(self) -> Iterator[Place]:
        """The steps that are left, epoch by epoch: how many there will be is known at the end only."""
        start = self.progress.epoch_start
        until = self.config.max_steps or math.inf
        for epoch in range(self.progress.epoch, self.plan.epochs):
            steps = self.plan.epoch(epoch)
            for k in range(max(0, self.progress.step - start), len(steps)):
                if start + k >= until:
                    return
                ends = k + 1 == len(steps)
                last = start + k + 1 >= until or (ends and epoch + 1 == self.plan.epochs)
                draw = Draw(self.plan.seed, epoch, start + k)
                yield Place(epoch, start, (k + 1) / len(steps), steps[k], draw, ends, last)
            start += len(steps)

    def _pack(self, place: Place) -> Share:
        accumulate = self.accumulate
        parts = split_step(place.step, self.plan.lengths, self.world.size * accumulate)
        mine, ghosts = padded(parts, self.world)
        few = self.device.type == "cpu"
        batches = [
            make_batch(self.groups, drawn_rows(self.groups, part), draw=place.draw, few_shapes=few) for part in mine
        ]
        return Share(place, accumulate, batches, ghosts)

    def _step(self, share: Share) -> tuple[int, bool, bool]:
        """One optimiser step. *Returns*, the same in every process: the signal that came (0: none), whether the time
        is over, whether the state is to be saved."""
        began = time.perf_counter()
        step = self.progress.step
        apply_freeze(self.model.encoder, self.heads, self.config.freeze, step)
        if self.distilled is not None:
            self.distilled.before_step(step)
        factor = rate(self.config, self.total, step)
        set_rates(self.optimizer, factor)
        counts, sums = self._gradient(share)
        norm = self.engine.norm(self.config.clip if self.config.clip is not None else math.inf)
        finite = math.isfinite(norm)
        if finite:
            self.optimizer.step()
            self.regularised.stepped()
            self.bad_steps = 0
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.n_tokens for batch in share.counted)
        places = sum(batch.n_tokens / max(1e-9, 1 - pad_fraction(batch)) for batch in share.counted)
        told = [float(self.stopping.number or 0), float(self.world.first and self._save_due(step + 1))]
        told += [float(self.world.first and self.stopping.late), tokens, places, *sums.values()]
        signal, save, late, all_tokens, all_places, *totals = self.world.sum(told)
        losses = {task: x / n for (task, n), x in zip(counts.targets.items(), totals, strict=True) if n}
        if not finite:
            self._bad_step(step, losses, share.counted)
        place = share.place
        self.progress.stepped(epoch=place.epoch, epoch_start=place.start, tokens=int(all_tokens), rows=counts.rows)
        self.progress.seconds += (seconds := time.perf_counter() - began)
        info = StepInfo(
            step=self.progress.step,
            epoch=place.epoch + place.part,
            losses=losses,
            lr=self.config.lr * factor,
            tokens=int(all_tokens),
            seconds=seconds,
            pad_fraction=1 - all_tokens / all_places if all_places else 0.0,
        )
        self.display.step(info)
        if self.progress.step % (self.config.log_every or 10) == 0 or place.last:
            self._log(
                {
                    "step": info.step,
                    "epoch": round(info.epoch, 4),
                    "loss": losses,
                    "lr": info.lr,
                    "tokens": info.tokens,
                    "tokens_per_second": round(all_tokens / seconds),
                    "grad_norm": norm,
                    "padding": round(info.pad_fraction, 4),
                    "rows": dict(self.progress.rows),
                }
            )
        # A signal that several processes heard comes as a sum of their numbers; each knows its own.
        return (self.stopping.number or 15) if signal else 0, late > 0, save > 0

    def _gradient(self, share: Share) -> tuple[Counts, dict[str, float]]:
        """As `backward`, of a step's share; where a GPU's memory does not hold it, in more and smaller parts."""
        while True:
            if share.accumulate < self.accumulate:
                share = self._pack(share.place)
            try:
                return self.backward(share.batches, ghosts=share.ghosts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                rows = max(batch.n_rows for batch in share.batches)
                if self.device.type != "cuda" or self.world.size > 1 or rows == 1:
                    raise out_of_memory(share.batches, self.groups, error) from error
            self.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            self.accumulate *= 2
            self.display.message(
                f"step {self.progress.step + 1}: out of memory; batches are now computed in {self.accumulate} parts "
                f"(the same gradient; set train.accumulate={self.accumulate} to begin so)"
            )

    def backward(self, batches: Sequence[Batch], *, ghosts: int = 0) -> tuple[Counts, dict[str, float]]:
        """Add one global batch's gradient to every parameter. *batches*: this process's parts, the last *ghosts* of
        which count nothing. *Returns*: what the global batch holds, and this process's summed losses of all tasks."""
        real = batches[: len(batches) - ghosts]
        counts = count(real, list(self.heads), self.world)
        scales = self.regularised.scales = loss_scales(counts, self.weights, self.config.normalise)
        sums: dict[str, Tensor] = {}
        shared = [parameter for parameter in self.model.encoder.parameters() if parameter.requires_grad]
        for number, batch in enumerate(batches):
            moved = batch.to(self.device)
            weight = self.engine.factor if number < len(real) else 0.0
            with self.engine.part(last=number == len(batches) - 1):
                losses = self.engine.losses(moved, autocast(self.precision, self.device), scales)
                scaled = {
                    name: value * (scales[name] * weight)
                    for name, value in losses.items()
                    if name in scales and value.requires_grad
                }
                self.balancer.backward(scaled, shared)
            if number < len(real):
                for name in losses.keys() & self.heads.keys():
                    sums[name] = sums.get(name, torch.zeros((), device=self.device)) + losses[name].detach()
        return counts, {name: float(sums.get(name, 0.0)) for name in self.heads}

    def _bad_step(self, step: int, losses: Mapping[str, float], batches: Sequence[Batch]) -> None:
        self.bad_steps += 1
        self.progress.bad += 1
        self.display.message(
            f"step {step + 1}: the gradient is not finite (losses: {shown(losses)}); the step is left out"
        )
        if self.bad_steps >= self.config.max_bad_steps:
            raise not_finite(self.bad_steps, losses, batches, self.groups)

    def _evaluate(self) -> None:
        with self.engine.whole() as model, self.regularised.evaluated():
            scores = evaluate(
                model,
                self.dev,
                tune=True,
                batch_tokens=self.config.eval_batch_tokens,
                device=self.device,
                precision=self.precision,
                world=self.world,
            )
            step = self.progress.step
            value = score(scores, self.wanted, model.specs)
            better = value is not None and (self.progress.best_score is None or value > self.progress.best_score)
            if better and self.world.first:
                info = {"step": step, "score": value, "by": self.wanted, "dev": scores}
                self.saver.begin(lambda: best_writer(self.run, model, info))
        self.history.append((step, scores))
        if better:
            self.progress.best_step, self.progress.best_score, self.progress.stale = step, value, 0
        else:
            self.progress.stale += 1
        self._log({"step": step, "dev": scores, "score": value, "best": better})
        self.display.evaluated(step, _main_first(scores, best_metrics(self.model.specs, [])), better)

    def _save_due(self, step: int) -> bool:
        if self.config.save_every:
            return step % self.config.save_every == 0
        return time.monotonic() - self._saved_at > SAVE_SECONDS

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        for path in self.changed():
            self.display.message(f"{path} is no longer what it was: this run goes on with what it read")
        self.saver.begin(
            lambda: state_writer(
                self.run,
                self.model,
                self.optimizer,
                self.progress,
                keep=self.config.keep,
                device=self.device,
                world=self.world,
                more=self.regularised.state(),
            )
        )

    def _log(self, line: Mapping[str, Any]) -> None:
        if self.world.first:
            append(self.run / METRICS, line)


def _main_first(scores: Scores, main: Mapping[str, str]) -> Scores:
    """The scores with each task's main metric in front, which is the one that a display shows."""
    return {
        task: {metric: found[metric] for metric in sorted(found, key=lambda name: name != main[task])}
        for task, found in scores.items()
    }
