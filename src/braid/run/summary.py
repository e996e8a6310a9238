"""What training says of its data before it begins, and what the run directory keeps of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from braid.data.corpus.rows import CorpusRows
from braid.data.groups import GroupData
from braid.model.network import TaskSpec
from braid.run.build import Parts
from braid.run.dataset import ReadData, Say, SkippedLabels

BINS = 64
"""Bars of a histogram of lengths, at most."""


def say_data(
    say: Say,
    groups: Mapping[str, list[GroupData]],
    parts: Parts,
    data: ReadData,
    skipped: Mapping[str, SkippedLabels],
    specs: Mapping[str, TaskSpec],
) -> None:
    """Rows of every group and split, and what was cut, skipped or left out."""
    for k, group in enumerate(groups["train"]):
        name = " & ".join(group.tasks)
        sizes = ", ".join(f"{split} {_size(groups[split][k]):,}" for split in groups)
        say(f"{name}: {sizes} rows")
        for split in groups:
            if isinstance(filled := groups[split][k].rows, CorpusRows):
                for reason, n in filled.left_out.items():
                    say(f"  {split}: {n:,} {reason} left out")
        cut = {split: groups[split][k].truncated() for split in groups}
        if any(cut.values()):
            shown = ", ".join(f"{split} {n:,}" for split, n in cut.items() if n)
            say(f"  texts cut at {parts.max_length} tokens: {shown} (encoder.max_length)")
        for split in groups:
            for task, reasons in data.reads[split][k].skipped.items():
                for reason, n in reasons.items():
                    say(f"  {task}, {split}: {n:,} rows left out: {reason}")
            for task in group.labelled:
                rows = [(e.labels[task], e) for e in groups[split][k].examples if e.labels.get(task) is not None]
                for what, at in specs[task].labelled.remarks(rows).items():
                    say(f"  {task}, {split}: {len(at):,} {what} (first: {at[0]})")
                for reason, places in skipped[split].get(task, {}).items():
                    say(f"  {task}, {split}: {len(places):,} labels left out: {reason} (first: {places[0]})")


def _size(group: GroupData) -> int:
    """Examples of a group; rows of one that reads a corpus."""
    return len(group) if isinstance(group.rows, CorpusRows) else len(group.examples)


def data_facts(
    groups: Mapping[str, list[GroupData]], parts: Parts, specs: Mapping[str, TaskSpec], rates: Mapping[str, float]
) -> dict[str, Any]:
    """What `data.json` holds: of each group and split the examples, rows, tokens, a histogram of the rows' lengths
    (`counts[k]`: rows of `k * bin` to `(k + 1) * bin - 1` tokens) and how many texts were cut; of training data how
    many rows have a target of each task; how often each label stands there. *rates*: how often a group is drawn, by
    its name."""
    width = max(1, -(-(parts.max_length + 1) // BINS))
    found: list[dict[str, Any]] = []
    for k, group in enumerate(groups["train"]):
        splits = {split: _split_facts(groups[split][k], specs, width) for split in groups if len(groups[split][k])}
        name = " & ".join(group.tasks)
        found.append({"tasks": list(group.tasks), "rate": rates.get(name, 1.0), "splits": splits})
    return {"max_length": parts.max_length, "bin": width, "groups": found}


def _split_facts(group: GroupData, specs: Mapping[str, TaskSpec], width: int) -> dict[str, Any]:
    lengths = np.asarray(group.rows.lengths)
    labels: dict[str, dict[str, int]] = {}
    for task in group.labelled:
        known = specs[task].facts.get("labels")
        if not known:
            continue
        counts: Counter[str] = Counter()
        for example in group.examples:
            if (label := example.labels.get(task)) is not None:
                counts.update(specs[task].labelled.describe_label(label, specs[task].facts))
        labels[task] = dict(counts.most_common())
    return {
        "examples": _size(group),
        "rows": len(group),
        "tokens": int(lengths.sum()),
        "longest": int(lengths.max()),
        "truncated": group.truncated(),
        "counts": np.bincount(lengths // width).tolist(),
        "targets": {
            **{task: int(table.has.sum()) for task, table in group.targets.items()},
            **dict.fromkeys(group.makers, len(group)),
        },
        "labels": labels,
    }
