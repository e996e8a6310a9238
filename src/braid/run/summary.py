"""What training says of its data before it begins."""

from __future__ import annotations

from collections.abc import Mapping

from braid.data.corpus.rows import CorpusRows
from braid.data.groups import GroupData
from braid.model.network import TaskSpec
from braid.run.build import Parts
from braid.run.dataset import ReadData, Say, SkippedLabels


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
