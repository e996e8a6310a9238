"""Whether probabilities are what they say: reliability diagrams and the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braid.report.blocks import Block, Heading, Section, Table, number
from braid.report.plots import GRID, INK, colour, drawn, panels, style
from braid.report.view import View
from braid.report.wrongness import claims

BINS = 15
"""Bins of equal width, as in Guo et al. 2017."""


@dataclass(frozen=True)
class Calibration:
    """*confidence*, *accuracy*: means of each bin [BINS], NaN where it is empty; *counts*: what is in it."""

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence| of the bins, weighted by what they hold."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gaps * self.counts).sum() / max(1, self.counts.sum()))

    @property
    def mce(self) -> float:
        """The greatest gap of any bin."""
        return float(np.nan_to_num(np.abs(self.accuracy - self.confidence)).max())


def calibrate(pairs: Sequence[tuple[float, bool]], bins: int = BINS) -> Calibration:
    """Bins of (how likely it was said to be, whether it was so). Bins hold their upper bound, not their lower one."""
    said = np.clip(np.array([chance for chance, _ in pairs], dtype=np.float64), 0, 1)
    right = np.array([truth for _, truth in pairs], dtype=np.float64)
    place = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], said, side="left"), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, said, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    return Calibration(confidence, accuracy, counts)


def calibration(views: Sequence[View]) -> Section | None:
    """A diagram and the errors of every task that says how sure it is."""
    blocks: list[Block] = []
    with style():
        for task in dict.fromkeys(task for view in views for task in view.judged):
            found = [(view, made) for view in views if task in view.judged and (made := _of(view, task)) is not None]
            if not found:
                continue
            axes = panels(2, height=2.6)
            for number_, (view, made) in enumerate(found):
                there = made.counts > 0
                axes[0].plot(
                    made.confidence[there], made.accuracy[there], "o-", markersize=3, color=colour(number_),
                    label=view.title,
                )  # fmt: skip
                edges = np.linspace(0, 1, len(made.counts) + 1)
                axes[1].stairs(made.counts / made.counts.sum(), edges, color=colour(number_), fill=len(found) == 1)
            axes[0].plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
            axes[0].set(title="how often it was so", xlabel="how likely it was said to be", xlim=(0, 1), ylim=(0, 1.02))
            axes[1].set(title="share of answers", xlabel="how likely it was said to be", xlim=(0, 1))
            axes[1].grid(color=GRID)
            if len(found) > 1:
                axes[0].legend()
            rows = [
                [view.title, number(made.ece), number(made.mce), f"{int(made.counts.sum()):,}"] for view, made in found
            ]
            blocks += [
                Heading(task),
                drawn(axes, f"reliability-{task}", f"reliability diagram of {task}"),
                Table(["run", "ECE", "greatest gap", "answers"], rows),
            ]
    if not blocks:
        return None
    lead = (
        f"A point for each of {BINS} bins of equal width; on the dotted line the model is as often right as it says. "
        "ECE: expected calibration error (Guo et al. 2017). What is counted: the label of a row, the option chosen, "
        "each label of a multilabel row, each span that was marked, each answer."
    )
    return Section("calibration", "Calibration", lead, blocks)


def _of(view: View, task: str) -> Calibration | None:
    judged, spec = view.judged[task], view.specs[task]
    pairs = [
        claim
        for prediction, gold in zip(judged.predictions, judged.golds, strict=True)
        for claim in claims(prediction, gold, spec)
    ]
    return calibrate(pairs) if pairs else None
