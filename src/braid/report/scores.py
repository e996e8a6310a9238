"""The table of figures on dev and test; of two runs with the difference."""

from __future__ import annotations

from collections.abc import Sequence

from braid.report.blocks import Section, Table, Text, number
from braid.report.view import View

SPLITS = ("dev", "test")


def scores(views: Sequence[View]) -> Section:
    """Every metric of every task."""
    splits = [split for split in SPLITS if any(view.record.scores(split) for view in views)]
    tasks = list(dict.fromkeys(task for view in views for task in view.record.task_names()))
    several = len(views) > 1
    columns = ["task", "metric"]
    for split in splits:
        columns += [f"{split} · {view.title}" for view in views] if several else [split]
        columns += ["difference"] if several else []
    rows: list[list[str]] = []
    strong: set[int] = set()
    for task in tasks:
        found = {split: [view.record.scores(split).get(task, {}) for view in views] for split in splits}
        names = dict.fromkeys(metric for each in found.values() for one in each for metric in one)
        main = next((metric for view in views if (metric := view.record.main_metric(task))), "")
        for metric in sorted(names, key=lambda name: name != main):
            row = [task, metric]
            for split in splits:
                values = [one.get(metric) for one in found[split]]
                row += [number(value) for value in values]
                if several:
                    row.append(_difference(values))
            strong |= {len(rows)} if metric == main else set()
            rows.append(row)
    lead = (
        "Bold: the metric that counts for the task. All are fractions; loss, perplexity and mse are better when lower."
    )
    blocks = [Table(columns, rows, numbers=2, strong=frozenset(strong))] if rows else []
    notes = [Text(text) for view in views if (text := _best(view))]
    if not rows:
        notes.append(Text("There are no figures: the run has no dev or test data, or was not evaluated yet."))
    return Section("scores", "Figures", lead if rows else "", [*blocks, *notes])


def _difference(values: Sequence[float | None]) -> str:
    if any(not isinstance(value, int | float) for value in values):
        return "–"
    first, second = values[0], values[-1]
    assert first is not None
    assert second is not None
    return f"{second - first:+.4f}"


def _best(view: View) -> str:
    record = view.record
    best = record.best or (record.metrics or {}).get("train", {}).get("best") or {}
    if record.finished and best.get("step"):
        by = best.get("by")
        means = " and ".join(f"{task} {metric}" for task, metric in by.items()) if isinstance(by, dict) else str(by)
        value = number(best.get("score"))
        return (
            f"{view.title}: the weights are those of step {best['step']:,}, the best on dev by {means} (mean {value})."
        )
    if not record.finished and record.evaluations:
        return f"{view.title} is not finished: these are dev figures of the best step so far."
    return ""
