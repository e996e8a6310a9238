"""How long rows are, and how many texts were cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braid.report.blocks import Block, Heading, Section, Table, Text, number, percent
from braid.report.plots import INK, colour, drawn, panels, style
from braid.report.view import View


def lengths(views: Sequence[View]) -> Section:
    """A histogram and a table for each group of the chain."""
    blocks: list[Block] = []
    with style():
        for view in views:
            blocks += [Heading(view.title)] if len(views) > 1 else []
            blocks += _of(view)
    lead = "Tokens of a row, special ones included. What was longer than a row is cut, or read in several rows."
    return Section("lengths", "Lengths and truncation", lead, blocks)


def _of(view: View) -> list[Block]:
    data = view.record.data
    if not data.get("groups"):
        return [Text("The run directory has no data.json, which holds lengths: it was trained before there was one.")]
    blocks: list[Block] = []
    rows = []
    for group in data["groups"]:
        name, splits = " & ".join(group["tasks"]), group["splits"]
        if not splits:
            continue
        cut = any(found["truncated"] for found in splits.values())
        axes = panels(2 if cut else 1, height=2.0)
        for place, (split, found) in enumerate(splits.items()):
            counts = np.array(found["counts"], dtype=np.float64)
            edges = np.arange(len(counts) + 1) * data["bin"]
            axes[0].stairs(counts / max(1, counts.sum()), edges, color=colour(place), label=split, linewidth=1.3)
            if cut:
                axes[1].bar(place, found["truncated"] / max(1, found["examples"]), color=colour(place), width=0.6)
            rows.append(
                [
                    *(name, split, number(found["examples"]), number(found["rows"]), number(found["tokens"])),
                    number(found["tokens"] / max(1, found["rows"]), 1),
                    *(number(found["longest"]), number(found["truncated"])),
                    percent(found["truncated"], found["examples"]),
                ]
            )
        axes[0].axvline(data["max_length"], color=INK, linestyle=":", linewidth=1)
        axes[0].set(title=f"share of rows (dotted: the longest row, {data['max_length']})", xlabel="tokens")
        axes[0].set_xlim(left=0)
        axes[0].legend()
        if cut:
            axes[1].set_xticks(range(len(splits)), list(splits))
            axes[1].set(title="share of texts that were cut", ylim=(0, None))
        blocks += [Heading(name), drawn(axes, f"lengths-{view.title}-{name}", f"lengths of the rows of {name}")]
    columns = ["group", "split", "examples", "rows", "tokens", "mean", "longest", "cut", ""]
    return [*blocks, Table(columns, rows, numbers=2)]
