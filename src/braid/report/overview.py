"""What the runs are: tasks, chain, state, and what this page could not find out."""

from __future__ import annotations

from collections.abc import Sequence

from braid.report.blocks import Block, Section, Table, Text, number
from braid.report.classes import figures
from braid.report.view import View


def overview(views: Sequence[View]) -> Section:
    """The tasks, and notes on each run."""
    rows = []
    for view in views:
        record = view.record
        rows.append(["directory", view.title, str(record.directory)])
        rows.append(["state", view.title, _state(view)])
        rows.append(["chain", view.title, str(record.recipe.get("chain", "–"))])
        encoder = record.recipe.get("encoder") or {}
        rows.append(
            ["encoder", view.title, " ".join(str(encoder[k]) for k in ("type", "pretrained") if encoder.get(k))]
        )
        tasks = [f"{name} ({kind})" if (kind := record.task_type(name)) else name for name in record.task_names()]
        rows.append(["tasks", view.title, ", ".join(tasks)])
    order = ("directory", "state", "chain", "encoder", "tasks")
    if len(views) == 1:
        table = Table(["", ""], [[key, text] for key, _, text in rows], numbers=99)
    else:
        cells = {(key, title): text for key, title, text in rows}
        table = Table(
            ["", *(view.title for view in views)],
            [[key, *(cells[key, view.title] for view in views)] for key in order],
            numbers=99,
        )
    return Section("overview", "The run" if len(views) == 1 else "The runs", "", [table, *_notes(views)])


def _state(view: View) -> str:
    record = view.record
    if record.finished:
        steps = (record.metrics or {}).get("train", {}).get("steps")
        return "finished" if steps is None else f"finished after {number(steps)} steps"
    last = max((line["step"] for line in [*record.steps, *record.evaluations]), default=0)
    return f"not finished; the log ends at step {last:,}"


def _notes(views: Sequence[View]) -> list[Block]:
    out: list[Block] = []
    for view in views:
        prefix = f"{view.title}: " if len(views) > 1 else ""
        if view.missing:
            out.append(
                Text(f"{prefix}Nothing was predicted for this page (classes, calibration, examples): {view.missing}")
            )
        elif view.judged:
            rows = len({id(example) for found in view.judged.values() for example in found.examples})
            out.append(
                Text(f"{prefix}Classes, calibration and examples are of the {view.split} split ({rows:,} rows).")
            )
        for path in view.changed:
            out.append(Text(f"{prefix}{path} is no longer what it was when this run was trained."))
        out += [Text(f"{prefix}{text}") for text in [*_differing(view), *view.record.notes]]
    return out


def _differing(view: View) -> list[str]:
    """Figures that come out otherwise now than when the run ended."""
    known = view.record.scores(view.split) if view.split else {}
    out = []
    for task, scores in figures(view.judged).items():
        metric = view.record.main_metric(task)
        before, now = known.get(task, {}).get(metric), scores.get(metric)
        if before is not None and now is not None and abs(before - now) > 1e-3:
            out.append(f"{task} {metric} on {view.split} is {now:.4f} now and was {before:.4f} when the run ended.")
    return out
