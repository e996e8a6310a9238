"""`braid check`: what is in the data of a chain, and what would go wrong, before any training.

Everything here looks at examples and token rows that others made; nothing is trained or changed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braid.data.example import Example
from braid.data.groups import GroupData
from braid.errors import Problem
from braid.model.network import TaskSpec

SHOWN = 5
"""Places named for each finding; all are counted."""


@dataclass
class Finding:
    """Something worth knowing: *what*, in how many rows, where the first of them stand."""

    task: str
    split: str
    what: str
    count: int
    places: list[str] = field(default_factory=list)
    severe: bool = False
    """Whether training would stop at it, or the figures would not mean what they seem to."""


@dataclass
class Report:
    """What `braid check` found. *labels*: task -> split -> label -> count; *lengths*: group -> split -> figures."""

    labels: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    lengths: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether training can start."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {**asdict(self), "ok": self.ok}


def inventory(specs: Mapping[str, TaskSpec], groups: Mapping[str, Sequence[GroupData]], report: Report) -> None:
    """Labels of every task by split, missing ones, and those of dev and test that training never shows."""
    for split, found in groups.items():
        for group in found:
            for task in group.labelled:
                labelled = specs[task].labelled
                counts: Counter[str] = Counter()
                missing, places = 0, []
                for example in group.examples:
                    label = example.labels.get(task)
                    if label is None:
                        missing += 1
                        continue
                    for name in labelled.describe_label(label, specs[task].facts):
                        counts[name] += 1
                    odd = labelled.check_label(label, example, specs[task].facts)
                    places += [f"{example.place}: {line}" for line in odd]
                rows = [(e.labels[task], e) for e in group.examples if e.labels.get(task) is not None]
                for what, found_at in labelled.remarks(rows).items():
                    shown = [str(place) for place in found_at[:SHOWN]]
                    report.findings.append(Finding(task, split, what, len(found_at), shown))
                report.labels.setdefault(task, {})[split] = dict(counts.most_common())
                if missing and missing < len(group.examples):
                    report.findings.append(Finding(task, split, "rows without a label for it", missing))
                if places:
                    what = "odd labels (illegal tag sequences and the like)"
                    report.findings.append(Finding(task, split, what, len(places), places[:SHOWN]))
    for task, splits in report.labels.items():
        for split in ("dev", "test"):
            unseen = {name: n for name, n in splits.get(split, {}).items() if name not in splits.get("train", {})}
            if unseen and specs[task].facts.get("labels") is not None:
                shown = [f"{name} ({n})" for name, n in list(unseen.items())[:SHOWN]]
                what = "labels never seen in training, which will be counted as errors"
                report.findings.append(Finding(task, split, what, sum(unseen.values()), shown))


def duplicates(groups: Mapping[str, Sequence[GroupData]], report: Report) -> None:
    """Equal inputs within a split, and equal inputs whose labels contradict each other."""
    for split, found in groups.items():
        for group in found:
            first: dict[tuple[Any, ...], Example] = {}
            again: list[Example] = []
            conflicts: dict[str, list[str]] = {}
            for example in group.examples:
                other = first.setdefault(_key(example), example)
                if other is example:
                    continue
                again.append(example)
                for task in group.tasks:
                    pair = other.labels.get(task), example.labels.get(task)
                    if None not in pair and pair[0] != pair[1]:
                        conflicts.setdefault(task, []).append(f"{other.place} and {example.place}")
            name = " & ".join(group.tasks)
            if again:
                places = [str(example.place) for example in again[:SHOWN]]
                report.findings.append(Finding(name, split, "duplicate inputs", len(again), places))
            for task, places in conflicts.items():
                what = "equal inputs with different labels"
                report.findings.append(Finding(task, split, what, len(places), places[:SHOWN]))


def leakage(groups: Mapping[str, Sequence[GroupData]], report: Report) -> None:
    """Inputs of dev and test that *any* task of the chain trains on."""
    trained: dict[str, tuple[str, Example]] = {}
    for group in groups.get("train", ()):
        for example in group.examples:
            for text in _texts(example):
                trained.setdefault(text, (" & ".join(group.tasks), example))
    for split in ("dev", "test"):
        for group in groups.get(split, ()):
            hits: dict[str, list[str]] = {}
            for example in group.examples:
                texts = _texts(example)
                found = [trained[text] for text in texts if text in trained]
                if len(found) == len(texts):
                    task, other = found[0]
                    hits.setdefault(task, []).append(f"{example.place} = {other.place}")
            for task, places in hits.items():
                what = f"inputs that also stand in the training data of {task}"
                name = " & ".join(group.tasks)
                report.findings.append(Finding(name, split, what, len(places), places[:SHOWN], severe=True))


def lengths(groups: Mapping[str, Sequence[GroupData]], report: Report, *, max_length: int) -> None:
    """Lengths in tokens, what is cut, and what becomes several windows."""
    for split, found in groups.items():
        for group in found:
            if not len(group):
                continue
            rows = len(group.examples) or len(group)
            tokens = np.bincount(group.rows.example, weights=group.rows.lengths, minlength=rows)
            edges = sorted({*(edge for edge in (16, 32, 64, 128, 256, 512) if edge < max_length), max_length})
            counts = np.histogram(group.rows.lengths, bins=[0, *(edge + 1 for edge in edges)])[0]
            truncated = group.truncated()
            report.lengths.setdefault(" & ".join(group.tasks), {})[split] = {
                "rows": rows,
                "windows": len(group),
                "median": int(np.median(tokens)),
                "p95": int(np.percentile(tokens, 95)),
                "longest": int(tokens.max()),
                "histogram": {f"<={edge}": int(n) for edge, n in zip(edges, counts, strict=True)},
                "truncated": truncated,
                "truncated_share": round(truncated / rows, 4),
            }


def skipped(reads: Mapping[str, Sequence[Any]], report: Report) -> None:
    """Rows that were left out while reading (empty texts)."""
    for split, found in reads.items():
        for read in found:
            for task, reasons in read.skipped.items():
                for reason, count in reasons.items():
                    report.findings.append(Finding(task, split, f"rows left out: {reason}", count))


def left_out(split: str, found: Mapping[str, Mapping[str, Sequence[Any]]], report: Report) -> None:
    """Labels that nothing can be learned from or compared with (task -> reason -> places)."""
    for task, reasons in found.items():
        for reason, places in reasons.items():
            shown = [str(place) for place in places[:SHOWN]]
            report.findings.append(Finding(task, split, f"labels left out: {reason}", len(places), shown))


def collect(report: Report, problems: Iterable[Problem]) -> None:
    """Add what would stop training."""
    report.errors += [str(problem) for problem in problems]


def memory(parameters: int, trainable: int, tokens: int, activation: Callable[[int], float], report: Report) -> None:
    """Estimate of what training will need, in MB: weights and gradients in fp32, two moments of Adam, activations, and
    what this process (interpreter, libraries, data) holds already."""
    megabyte = 1e6
    report.memory = {
        "process": round(max(0.0, (_resident() - 4 * parameters) / megabyte), 1),
        "weights": round(4 * parameters / megabyte, 1),
        "gradients": round(4 * trainable / megabyte, 1),
        "optimizer": round(8 * trainable / megabyte, 1),
        "activations": round(activation(tokens) / megabyte, 1),
    }
    report.memory["total"] = round(sum(report.memory.values()), 1)


def _resident() -> int:
    """Bytes that this process holds; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _key(example: Example) -> tuple[Any, ...]:
    return example.text, example.pair, example.words, example.options


def _texts(example: Example) -> list[str]:
    """What makes an input recognisable across tasks, spacing aside."""
    return ["".join(example.text.split()) + ("\n" + "".join(example.pair.split()) if example.pair else "")]
