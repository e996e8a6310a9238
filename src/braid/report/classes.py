"""Figures by class, and what was taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from braid.data.tag_schemes import spans_of
from braid.model.evaluate import Judged
from braid.model.network import TaskSpec
from braid.report.blocks import Block, Columns, Heading, Matrix, Section, Table, Text, number
from braid.report.view import View

LABELS = 16
"""Labels that a matrix shows at most: more do not fit on paper."""

BESIDE = 3
"""Labels of a matrix that can stand beside another one."""

OUTSIDE = "(none)"
"""Units in no span."""


def classes(views: Sequence[View]) -> Section | None:
    """A table by class and a confusion matrix of every task that has any."""
    blocks: list[Block] = []
    for task in dict.fromkeys(task for view in views for task in view.judged):
        there = [view for view in views if task in view.judged]
        table = _table(task, there)
        matrices = [(view.title, matrix(view.judged[task], view.specs[task])) for view in there]
        shown = [(title, found) for title, found in matrices if found]
        if not table and not shown:
            continue
        blocks.append(Heading(task))
        blocks += table
        wide = any(isinstance(one, Matrix) and len(one.labels) > BESIDE for _, found in shown for one in found)
        if len(shown) > 1 and not wide:
            blocks.append(Columns(shown))
        else:
            for title, found in shown:
                blocks += [Text(f"{title}:"), *found] if len(shown) > 1 else found
    if not blocks:
        return None
    lead = "In a matrix rows are gold labels and columns predictions; the darker, the greater the share of its row."
    return Section("classes", "Classes and confusions", lead, blocks)


def _table(task: str, views: Sequence[View]) -> list[Block]:
    tables = [{str(row["label"]): row for row in view.judged[task].meter.table()} for view in views]
    labels = list(dict.fromkeys(label for table in tables for label in table))
    if not labels:
        return []
    names = [name for name in next(iter(tables[0].values()), {}) if name != "label"]
    if len(views) == 1:
        columns = ["label", *names]
        rows = [[label, *(number(tables[0][label].get(name)) for name in names)] for label in labels]
        return [Table(columns, rows)]
    shown = "f1" if "f1" in names else names[0]
    rows = []
    for label in labels:
        values = [table.get(label, {}).get(shown) for table in tables]
        numeric = [value for value in values if isinstance(value, int | float)]
        change = f"{numeric[1] - numeric[0]:+.4f}" if len(numeric) == 2 else "–"
        support = [number(table.get(label, {}).get("support")) for table in tables]
        rows.append([label, *map(number, values), change, *([support[0]] if "support" in names else [])])
    columns = ["label", *(f"{shown} · {view.title}" for view in views), "difference"]
    return [Table([*columns, *(["support"] if "support" in names else [])], rows)]


def matrix(judged: Judged, spec: TaskSpec) -> list[Block]:
    """The confusion matrix of a task whose answers are one label each, for a row or a unit; nothing for others."""
    pairs = Counter(_pairs(judged, spec))
    if not pairs:
        return []
    known = [str(label) for label in spec.facts.get("labels", [])]
    totals: Counter[str] = Counter()
    for (gold, said), n in pairs.items():
        totals[gold] += n
        totals[said] += n if gold != said else 0
    present = [label for label in [*known, *sorted(set(totals) - set(known))] if totals[label]]
    if len(present) < 2:
        return []
    notes: list[Block] = []
    if len(present) > LABELS:
        confused: Counter[str] = Counter()
        for (gold, said), n in pairs.items():
            if gold != said:
                confused.update({gold: n, said: n})
        kept = {label for label, _ in confused.most_common(LABELS)}
        kept = kept or set(present[:LABELS])
        notes.append(Text(f"The {len(kept)} most confused of {len(present)} labels."))
        present = [label for label in present if label in kept]
    counts = [[pairs[gold, said] for said in present] for gold in present]
    sums = {gold: sum(n for (one, _), n in pairs.items() if one == gold) for gold in present}
    weights = [[n / sums[gold] if sums[gold] else 0.0 for n in row] for gold, row in zip(present, counts, strict=True)]
    return [*notes, Matrix(present, counts, weights)]


def _pairs(judged: Judged, spec: TaskSpec) -> Iterable[tuple[str, str]]:
    scheme = getattr(judged.meter, "scheme", None)
    for prediction, gold in zip(judged.predictions, judged.golds, strict=True):
        if isinstance(getattr(prediction, "label", None), str) and isinstance(gold, str):
            yield gold, prediction.label
        elif hasattr(prediction, "tags") and scheme is not None:
            for pair in zip(_kinds(list(gold), scheme), _kinds(prediction.tags, scheme), strict=True):
                if pair != (OUTSIDE, OUTSIDE):
                    yield pair
        elif hasattr(prediction, "tags"):
            yield from zip(gold, prediction.tags, strict=True)
        elif hasattr(prediction, "relations"):
            yield from zip(gold.relations, prediction.relations, strict=True)


def _kinds(tags: Sequence[str], scheme: Any) -> list[str]:
    """The type of the span that each unit stands in; of spans without types nothing."""
    out = [OUTSIDE] * len(tags)
    for first, end, label in spans_of(tags, scheme):
        if label:
            out[first:end] = [label] * (end - first)
    return out


def figures(judged: Mapping[str, Judged]) -> dict[str, dict[str, float]]:
    """Every task's metrics on the rows that were judged."""
    return {task: found.meter.compute() for task, found in judged.items()}
