"""What training shows while it runs: a live bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from braid.training.results import results_table as results_table

Scores = Mapping[str, Mapping[str, float]]
"""Task -> metric -> value."""

SMOOTHING = 0.95
"""Weight of the past in the losses that are shown: about the mean of the last twenty steps."""

ETA_SMOOTHING = 0.98
"""The same for the seconds of a step, from which the time that is left is estimated."""


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One finished step. *step* counts from 1; *epoch*: epochs done, with fractions; *losses*: mean loss by task (tasks
    without a row in the batch are absent); *tokens*: real tokens of the batch; *seconds* it took; *pad_fraction*:
    share of places in attention without a token (linear layers have none)."""

    step: int
    epoch: float
    losses: Mapping[str, float]
    lr: float
    tokens: int
    seconds: float
    pad_fraction: float


class Progress(Protocol):
    """A display of training. `stop` may be called without `start`, and more than once."""

    def start(self) -> None:
        """Training begins."""

    def step(self, info: StepInfo) -> None:
        """A step is done."""

    def evaluated(self, step: int, scores: Scores, best: bool) -> None:
        """The dev figures after a step; *best*: whether no earlier ones were better."""

    def message(self, text: str) -> None:
        """A line for the user that stays."""

    def stop(self) -> None:
        """Training is over, for whatever reason."""


def make_progress(
    total_steps: int, tasks: Sequence[str], *, console: Console | None = None, log_every: int | None = None
) -> Progress:
    """A live display where *console* (None: standard error) is a terminal, else a line log.

    *tasks*: names in the order in which losses are shown; *log_every*: steps from line to line (None: about fifty
    lines in all)."""
    console = console or Console(file=sys.stderr, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(total_steps, tasks, console)
    return LineProgress(total_steps, tasks, console, log_every or max(1, total_steps // 50))


class _Averages:
    """Running figures: losses smoothed by task, speed since the last `restart`, time left by the speed of late."""

    def __init__(self, total_steps: int, tasks: Sequence[str]) -> None:
        self.total_steps = total_steps
        self.losses: dict[str, float] = {}
        self._order = list(tasks)
        self._weights: dict[str, float] = {}
        self._seconds, self._weight = 0.0, 0.0
        self.last: StepInfo | None = None
        self.restart()

    def restart(self) -> None:
        """Count speed and padding from here."""
        self.tokens, self.seconds, self._padded = 0, 0.0, 0.0

    def add(self, info: StepInfo) -> None:
        """Take in one step."""
        self.last = info
        # Smoothed, so that slow first steps (kernels are chosen, caches filled) do not spoil the estimate for long.
        self._weight = self._weight * ETA_SMOOTHING + 1
        self._seconds = self._seconds * ETA_SMOOTHING + info.seconds
        self.tokens += info.tokens
        self.seconds += info.seconds
        self._padded += info.pad_fraction * info.tokens
        for task, loss in info.losses.items():
            # Dividing by the summed weights makes the first values plain means instead of being drawn towards 0.
            weight = self._weights.get(task, 0.0) * SMOOTHING
            self.losses[task] = (self.losses.get(task, 0.0) * weight + loss) / (weight + 1)
            self._weights[task] = weight + 1

    def by_task(self) -> list[tuple[str, float]]:
        """Smoothed losses in the tasks' order."""
        known = [task for task in self._order if task in self.losses]
        return [(task, self.losses[task]) for task in [*known, *(self.losses.keys() - set(known))]]

    def loss(self) -> float:
        """Mean of the tasks' losses."""
        return sum(self.losses.values()) / len(self.losses) if self.losses else float("nan")

    def speed(self) -> str:
        return f"{self.tokens / self.seconds:,.0f} tok/s" if self.seconds > 0 else "- tok/s"

    def padding(self) -> str:
        return f"pad {100 * self._padded / self.tokens:.0f}%" if self.tokens else "pad 0%"

    def eta(self) -> str:
        """Time left for the steps that are left, evaluations not counted."""
        if self.last is None:
            return "eta -"
        left = max(0, self.total_steps - self.last.step)
        return f"eta {clock(left * self._seconds / self._weight)}"


class Quiet:
    """Nothing: what processes other than the first show."""

    def start(self) -> None: ...
    def step(self, info: StepInfo) -> None: ...
    def evaluated(self, step: int, scores: Scores, best: bool) -> None: ...
    def message(self, text: str) -> None: ...
    def stop(self) -> None: ...


class LineProgress:
    """One line every `log_every` steps: for files, pipes and notebooks."""

    def __init__(self, total_steps: int, tasks: Sequence[str], console: Console, log_every: int) -> None:
        self.console, self.log_every = console, log_every
        self.averages = _Averages(total_steps, tasks)

    def start(self) -> None:
        """Nothing: the first line comes with the first steps."""

    def step(self, info: StepInfo) -> None:
        """A line, if it is time for one."""
        averages = self.averages
        averages.add(info)
        if info.step % self.log_every and info.step != averages.total_steps:
            return
        losses = averages.by_task()
        detail = " (" + ", ".join(f"{task} {loss:.3g}" for task, loss in losses) + ")" if len(losses) > 1 else ""
        parts = (
            f"step {info.step}/{averages.total_steps}",
            f"epoch {info.epoch:.1f}",
            f"loss {averages.loss():.3f}{detail}",
            f"lr {info.lr:.1e}",
            averages.speed(),
            averages.padding(),
            averages.eta(),
        )
        self.message("  ".join(parts))
        averages.restart()

    def evaluated(self, step: int, scores: Scores, best: bool) -> None:
        """One line with every task's first metric."""
        self.message(f"step {step}/{self.averages.total_steps}  dev  {first_metrics(scores)}{'  best' if best else ''}")

    def message(self, text: str) -> None:
        """The text as it is: neither wrapped nor coloured nor read as markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Nothing is open."""


class LiveProgress:
    """A few lines that are drawn anew: position and speed, losses, the last dev figures."""

    def __init__(self, total_steps: int, tasks: Sequence[str], console: Console) -> None:
        self.console = console
        self.averages = _Averages(total_steps, tasks)
        self.dev: Text | None = None
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def start(self) -> None:
        """Show it."""
        self.live.start()

    def step(self, info: StepInfo) -> None:
        """Take in a step; the display catches up by itself."""
        averages = self.averages
        if averages.seconds > 10:
            # Speed is of the last seconds: what training does now, not what it did at its start.
            averages.restart()
        averages.add(info)

    def evaluated(self, step: int, scores: Scores, best: bool) -> None:
        """Show the figures below the losses, and leave them in the scroll-back."""
        mark = "  best" if best else ""
        self.dev = Text(f"dev at step {step}  {first_metrics(scores)}{mark}", style="green" if best else "")
        self.console.print(self.dev)

    def message(self, text: str) -> None:
        """A line above the display."""
        self.console.print(Text(text))

    def stop(self) -> None:
        """Take it away."""
        self.live.stop()

    def _render(self) -> Group:
        averages, info = self.averages, self.averages.last
        if info is None:
            return Group(Text(f"step 0/{averages.total_steps}  starting", style="dim"))
        position = f"epoch {info.epoch:.1f}  step {info.step}/{averages.total_steps}  {averages.eta()}"
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(averages.total_steps, info.step), position)
        speed = Text(f"{averages.speed()}  {averages.padding()}  lr {info.lr:.1e}", style="dim")
        losses = Text(f"loss {averages.loss():.3f}  ")
        losses.append("  ".join(f"{task} {loss:.3g}" for task, loss in averages.by_task()), style="dim")
        return Group(bar, losses, speed)


def first_metrics(scores: Scores) -> str:
    """Every task's first metric: `ner f1 0.912, topic accuracy 0.871`."""
    firsts = [(task, next(iter(metrics.items()))) for task, metrics in scores.items() if metrics]
    return ", ".join(f"{task} {name} {value:.3f}" for task, (name, value) in firsts)


def clock(seconds: float) -> str:
    """`0:07`, `3:21`, `2:03:21`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
