"""Learning curves: each task's loss and dev figure, learning rate and gradient norm, by step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from braid.report.blocks import Block, Heading, Section, Text
from braid.report.plots import colour, drawn, panels, style
from braid.report.view import View

SMOOTHING = 0.8
"""Weight of the past in the line drawn through the losses."""


def curves(views: Sequence[View]) -> Section:
    """Losses and dev figures by task."""
    blocks: list[Block] = []
    tasks = list(dict.fromkeys(task for view in views for task in view.record.task_names()))
    with style():
        for task in tasks:
            blocks += _task(task, views)
        blocks += _optimiser(views)
    if not blocks:
        blocks = [Text("metrics.jsonl has no steps: nothing was trained here, or no step was logged.")]
    lead = "Loss: pale, at each logged step; strong, its running mean. Dev: the metric that counts for the task."
    return Section("curves", "Learning curves", lead if len(blocks) > 1 else "", blocks)


def smooth(values: Sequence[float]) -> list[float]:
    """The running mean, each value weighing less with its distance; the first ones are plain means."""
    out, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = total * SMOOTHING + value, weight * SMOOTHING + 1
        out.append(total / weight)
    return out


def _task(task: str, views: Sequence[View]) -> list[Block]:
    losses = [[(line["step"], line["loss"][task]) for line in v.record.steps if task in line["loss"]] for v in views]
    metrics = [view.record.main_metric(task) for view in views]
    scores = [
        [(e["step"], e["dev"][task][metric]) for e in view.record.evaluations if metric in e["dev"].get(task, {})]
        for view, metric in zip(views, metrics, strict=True)
    ]
    losses = [[(step, value) for step, value in points if math.isfinite(value)] for points in losses]
    if not any(losses) and not any(scores):
        return []
    axes = panels(1 + any(scores))
    for number, (view, points) in enumerate(zip(views, losses, strict=True)):
        if points:
            steps, values = zip(*points, strict=True)
            axes[0].plot(steps, values, color=colour(number), alpha=0.3, linewidth=0.8)
            mark = "o" if len(points) == 1 else ""
            axes[0].plot(steps, smooth(values), color=colour(number), marker=mark, markersize=3, label=view.title)
    axes[0].set(title="training loss", xlabel="step")
    if all(value > 0 for points in losses for _, value in points) and _wide(losses):
        axes[0].set_yscale("log")
    for number, (view, points) in enumerate(zip(views, scores, strict=True)):
        if points:
            steps, values = zip(*points, strict=True)
            axes[1].plot(steps, values, color=colour(number), marker="o", markersize=3, label=view.title)
    if len(axes) > 1:
        axes[1].set(title=f"dev {' / '.join(dict.fromkeys(filter(None, metrics)))}", xlabel="step")
    if len(views) > 1:
        axes[-1].legend()
    return [Heading(task), drawn(axes, f"curve-{task}", f"loss and dev figures of {task} by step")]


def _wide(losses: Sequence[Sequence[tuple[int, float]]]) -> bool:
    values = [value for points in losses for _, value in points]
    return bool(values) and max(values) > 50 * min(values)


def _optimiser(views: Sequence[View]) -> list[Block]:
    if not any(view.record.steps for view in views):
        return []
    axes = panels(2, height=1.8)
    for number, view in enumerate(views):
        for axis, key in zip(axes, ("lr", "grad_norm"), strict=True):
            points = [
                (line["step"], line[key])
                for line in view.record.steps
                if isinstance(line.get(key), int | float) and math.isfinite(line[key])
            ]
            if points:
                mark = "o" if len(points) == 1 else ""
                steps, values = zip(*points, strict=True)
                axis.plot(steps, values, color=colour(number), linewidth=1, marker=mark, markersize=3, label=view.title)
    axes[0].set(title="learning rate", xlabel="step")
    axes[0].yaxis.set_major_formatter("{x:g}")  # a common factor above the axis would push it out of line
    axes[1].set(title="gradient norm", xlabel="step")
    if len(views) > 1:
        axes[0].legend()
    return [Heading("optimiser"), drawn(axes, "optimiser", "learning rate and gradient norm by step")]
