"""The mixture that was seen: how many rows of each task the steps held."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braid.report.blocks import Block, Heading, Section, Table, Text, number, percent
from braid.report.plots import colour, drawn, panels, style
from braid.report.view import View


def mixture(views: Sequence[View]) -> Section:
    """Shares by step, and a table: rows seen, their share, and how often each row was seen."""
    blocks: list[Block] = []
    with style():
        for view in views:
            blocks += [Heading(view.title)] if len(views) > 1 else []
            blocks += _of(view)
    lead = "Rows with a label of the task, as they stood in the batches; tasks joined by & share rows."
    return Section("mixture", "Mixture", lead, blocks)


def _of(view: View) -> list[Block]:
    lines = [line for line in view.record.steps if isinstance(line.get("rows"), dict)]
    if not lines:
        return [Text("The log of this run does not say which tasks its rows had.")]
    tasks = list(dict.fromkeys(task for line in lines for task in line["rows"]))
    seen = np.array([[line["rows"].get(task, 0) for task in tasks] for line in lines], dtype=np.float64)
    steps = [line["step"] for line in lines]
    window = np.diff(seen, axis=0, prepend=0)
    share = window / np.maximum(1, window.sum(axis=1, keepdims=True))
    blocks: list[Block] = []
    if len(steps) > 1:
        axes = panels(1, height=2.2)
        for place, task in enumerate(tasks):
            axes[0].plot(steps, share[:, place], color=colour(place), linewidth=1, label=task)
        axes[0].set(title="share of labelled rows", xlabel="step", ylim=(0, None))
        axes[0].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        blocks.append(drawn(axes, f"mixture-{view.title}", "share of each task's rows by step"))
    there = {
        task: n
        for group in view.record.data.get("groups", [])
        for task, n in group["splits"].get("train", {}).get("targets", {}).items()
    }
    rates = {task: group["rate"] for group in view.record.data.get("groups", []) for task in group["tasks"]}
    rows = []
    for place, task in enumerate(tasks):
        n = int(seen[-1, place])
        often = f"{n / there[task]:.2f}" if there.get(task) else "–"
        rows.append(
            [
                *(task, number(n), percent(n, seen[-1].sum()), number(there.get(task)), often),
                f"{rates[task]:g}" if task in rates else "–",
            ]
        )
    return [*blocks, Table(["task", "rows seen", "share", "rows there are", "times seen", "rate in the chain"], rows)]
