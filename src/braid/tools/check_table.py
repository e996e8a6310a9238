"""How `braid check`'s report looks in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from braid.tools.check import Report

LABELS_SHOWN = 12


def render(report: Report) -> RenderableType:
    """The report as tables: labels, lengths, plan, findings, errors."""
    parts: list[RenderableType] = [_labels(report)] if report.labels else []
    parts += [_lengths(report), _plan(report)]
    if report.findings:
        parts.append(_findings(report))
    if report.errors:
        stop = "problem that stops" if len(report.errors) == 1 else "problems that stop"
        parts.append(Text(f"\n{len(report.errors)} {stop} training:", style="bold red"))
        parts += [Text(error) for error in report.errors[:40]]
        if len(report.errors) > 40:
            parts.append(Text(f"... and {len(report.errors) - 40} more"))
    else:
        parts.append(Text("\nready to train", style="bold green"))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    # Rich wraps a title to its table's width; a no-break space keeps a short table's title on one line.
    title = title.replace(" ", "\u00a0")
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold" if number < 2 else "ellipsis")
    return table


def _labels(report: Report) -> Table:
    splits = ("train", "dev", "test")
    table = _table("labels", "task", "label", *splits)
    for task, by_split in report.labels.items():
        names = list(dict.fromkeys(name for split in splits for name in by_split.get(split, {})))
        shown = names[:LABELS_SHOWN]
        if _numeric(names) and len(names) > LABELS_SHOWN:
            values = sorted(float(name) for name in names)
            totals = [f"{sum(by_split.get(split, {}).values()):,}" for split in splits]
            table.add_row(escape(task), f"{values[0]:g} to {values[-1]:g}", *totals)
            continue
        for number, name in enumerate(shown):
            counts = [f"{by_split.get(split, {}).get(name, 0):,}" for split in splits]
            table.add_row(escape(task) if number == 0 else "", escape(name), *counts)
        if len(names) > len(shown):
            table.add_row("", f"... {len(names) - len(shown)} more", "", "", "")
    return table


def _numeric(names: list[str]) -> bool:
    try:
        [float(name) for name in names]
    except ValueError:
        return False
    return True


def _lengths(report: Report) -> Table:
    table = _table("\nlengths in tokens", "group", "split", "rows", "median", "p95", "longest", "cut", "histogram")
    for group, splits in report.lengths.items():
        for number, (split, found) in enumerate(splits.items()):
            rows = f"{found['rows']:,}"
            if found["windows"] != found["rows"]:
                rows += f" in {found['windows']:,} windows"
            table.add_row(
                escape(group) if number == 0 else "",
                split,
                rows,
                str(found["median"]),
                str(found["p95"]),
                str(found["longest"]),
                f"{found['truncated']:,} ({found['truncated_share']:.1%})",
                "  ".join(f"{edge}: {n:,}" for edge, n in found["histogram"].items() if n),
            )
    return table


def _plan(report: Report) -> Table:
    table = _table("\nplan", "", "")
    for name, value in report.plan.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {number:,}" for key, number in value.items())
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    if report.memory:
        parts = ", ".join(f"{name} {mb:,.0f}" for name, mb in report.memory.items() if name != "total")
        table.add_row("memory, MB (estimate)", f"{report.memory['total']:,.0f} ({parts})")
    return table


def _findings(report: Report) -> Table:
    table = _table("\nfindings", "task", "split", "count", "what", "where")
    for finding in report.findings:
        style = "yellow" if finding.severe else ""
        table.add_row(
            escape(finding.task),
            finding.split,
            f"{finding.count:,}",
            escape(finding.what),
            escape("\n".join(finding.places)),
            style=style,
        )
    table.columns[3].overflow = table.columns[4].overflow = "fold"
    return table
