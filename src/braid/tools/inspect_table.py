"""How `braid inspect`'s report looks in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from braid.tools.inspect import Report
from braid.training.results import results_table

LABELS_SHOWN = 12


def render(report: Report, *, tensors: bool = False) -> RenderableType:
    """The report as tables. *tensors*: with every tensor's name, shape and dtype."""
    rows: list[RenderableType] = [Text(f"{report.path}: {report.kind}", style="bold")]
    facts = _table("", "")
    for name, value in report.facts.items():
        facts.add_row(Text(name), Text(_shown(value)))
    if report.versions:
        facts.add_row(Text("versions"), Text(", ".join(f"{name} {value}" for name, value in report.versions.items())))
    rows.append(facts)
    if report.parts:
        rows += [Text(), _parts(report)]
    if report.tasks:
        rows += [Text(), _tasks(report)]
    if report.metrics:
        rows += [Text(), results_table(report.metrics)]
    if tensors and report.tensors:
        rows += [Text(), _tensors(report)]
    rows.append(Text())
    rows += [Text(problem, style="bold red") for problem in report.problems]
    if report.ok:
        loads = {True: "whole, and loads", False: "whole; not finished", None: "whole"}[report.loads]
        rows.append(Text(loads, style="bold green"))
    return Group(*rows)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", style="dim" if number == 0 and not any(columns) else "")
    return table


def _parts(report: Report) -> Table:
    table = _table("part", "parameters", "tensors")
    for column in table.columns[1:]:
        column.justify = "right"
    for part in report.parts:
        table.add_row(Text(part.name), f"{part.parameters:,}", f"{part.tensors:,}")
    if len(report.parts) > 1:
        table.add_row("all", f"{report.parameters:,}", f"{sum(part.tensors for part in report.parts):,}", style="bold")
    return table


def _tasks(report: Report) -> Table:
    table = _table("task", "type", "labels")
    for task in report.tasks:
        labels = " ".join(task.labels[:LABELS_SHOWN])
        more = len(task.labels) - LABELS_SHOWN
        text = f"{len(task.labels)}: {labels}" + (f" and {more} more" if more > 0 else "") if task.labels else "-"
        table.add_row(Text(task.name), Text(task.type), Text(text))
    return table


def _tensors(report: Report) -> Table:
    table = _table("tensor", "shape", "dtype")
    for name, info in report.tensors.items():
        shape = " x ".join(map(str, info.shape)) or "one number"
        table.add_row(Text(name), Text(shape), Text(info.dtype + (f", is {info.repeats}" if info.repeats else "")))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value)
