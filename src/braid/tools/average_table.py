"""How what an average is made of looks in a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from braid.tools.average import Average


def render(made: Average) -> Table:
    """A line for each model that was given: its weight, and its own figures on dev beside those of the mean."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("weight", justify="right")
    tasks = [task for task in made.main if task in made.metrics.get("dev", {})]
    for task in tasks:
        table.add_column(f"{task} {made.main[task]} (dev)", justify="right")
    for share in made.shares:
        figures = [_number(share.dev.get(task, {}).get(made.main[task])) for task in tasks]
        weight = f"{share.weight:.3f}" if share.weight else "left out"
        table.add_row(Text(share.name), weight, *figures, style="" if share.weight else "dim")
    own = [_number(made.metrics["dev"][task].get(made.main[task])) for task in tasks]
    table.add_row(Text(f"{made.directory} (their mean)"), "", *own, style="bold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
