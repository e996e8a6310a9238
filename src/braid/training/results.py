"""The table of a run's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

SPLITS = ("train", "dev", "test")


def results_table(metrics: Mapping[str, Any], main: Mapping[str, str] | None = None) -> Table:
    """The figures of `metrics.json`: one line a task, its main metric in front, the other ones dim behind it.

    *metrics*: split -> task -> metric -> value (how training went, under `train`, is left out); *main*: the main metric
    by task, None: the first one.
    """
    splits = {split: scores for split in SPLITS if (scores := _scores(metrics.get(split)))}
    tasks = list(dict.fromkeys(task for scores in splits.values() for task in scores))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", style="bold", overflow="fold")
    table.add_column("metric", overflow="fold")
    for split in splits:
        table.add_column(split, justify="right", no_wrap=True)
    last = next(reversed(splits), "")
    table.add_column(f"more ({last})" if last else "more", style="dim", overflow="fold")
    for task in tasks:
        figures = {split: scores.get(task, {}) for split, scores in splits.items()}
        names = list(dict.fromkeys(name for scores in figures.values() for name in scores))
        chosen = (main or {}).get(task)
        first = chosen if chosen in names else names[0] if names else ""
        values = [_number(scores.get(first)) for scores in figures.values()]
        others = [f"{name} {_number(value)}" for name, value in figures[last].items() if name != first]
        table.add_row(Text(task), Text(first), *values, Text("  ".join(others)))
    return table


def _scores(split: Any) -> dict[str, Mapping[str, float]]:
    """The tasks of one split. A `train` with `seconds` tells how training went and holds no scores."""
    if not isinstance(split, Mapping) or "seconds" in split:
        return {}
    return {task: scores for task, scores in split.items() if isinstance(scores, Mapping) and scores}


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
