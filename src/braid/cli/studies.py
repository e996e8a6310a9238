"""Several runs of one recipe: tables of `train --folds`, and `sweep`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.cli.arguments import AsJson, RecipeArgument, console

if TYPE_CHECKING:
    from braid.config.recipe import Recipe
    from braid.run.folds import Folds
    from braid.run.results import Results


def cross_validate(recipe: Recipe, folds: int, *, overwrite: bool, force: bool) -> None:
    """`train --folds`."""
    from braid.run.folds import train_folds

    made = train_folds(recipe, folds, overwrite=overwrite, force=force)
    if made is not None:
        print_folds(made)
        print(f"predictions of all training rows: {made.directory / 'out_of_fold.jsonl'}", file=sys.stderr)


def print_folds(made: Folds) -> None:
    """The figures of a cross-validation: of all rows together, of the folds, of the test rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", style="bold", overflow="fold")
    table.add_column("metric", overflow="fold")
    columns = {"out of fold": None, f"mean of {made.folds} folds": made.held_out, "test": made.test or None}
    shown = {name: found for name, found in columns.items() if name == "out of fold" or found}
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for task, scores in made.out_of_fold.items():
        main = made.main[task]
        for metric in sorted(scores, key=lambda name: name != main):
            cells = [
                f"{scores[metric]:.4f}" if found is None else _spread(found.get(task, {}).get(metric))
                for found in shown.values()
            ]
            table.add_row(Text(task if metric == main else ""), metric, *cells, style="" if metric == main else "dim")
    console().print(table)


def _spread(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else f"{found['mean']:.4f} ± {found['deviation']:.4f}"


def sweep(
    recipe: RecipeArgument,
    axes: Annotated[
        list[str],
        typer.Argument(help="What varies: lr=1e-5,3e-5 seed=1..3 train.warmup=uniform(0,0.2); and changes for all."),
    ],
    trials: Annotated[int | None, typer.Option(min=1, help="Runs at most; needed where values are drawn.")] = None,
    by: Annotated[str | None, typer.Option(help="What counts: task.metric, by commas; else all tasks.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe with many values and compare them on dev. Run it again to go on."""
    from braid.run.sweep import sweep as run_sweep

    wanted = [] if by is None else [entry.strip() for entry in by.split(",") if entry.strip()]
    done = run_sweep(recipe, axes, trials=trials, by=wanted, overwrite=overwrite)
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        print_sweep(done, recipe)


def print_sweep(done: Results, recipe: Path) -> None:
    """Trials, the best first; settings over seeds; the best one and how to train it."""
    from rich.table import Table
    from rich.text import Text

    keys = list(dict.fromkeys(key for trial in done.trials for key in trial.point))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("trial", *keys):
        table.add_column(name, overflow="fold")
    for task, metric in done.by.items():
        table.add_column(f"{task} {metric} (dev)", justify="right")
    table.add_column("mean" if len(done.by) > 1 else "", justify="right")
    table.add_column("seconds", justify="right")
    for trial in done.trials:
        values = [Text(trial.point.get(key, "")) for key in keys]
        found = [trial.dev.get(task, {}).get(metric) for task, metric in done.by.items()]
        figures = ["-" if value is None else f"{value:.4f}" for value in found]
        mean = f"{trial.score:.4f}" if trial.score is not None and len(done.by) > 1 else ""
        if trial.error is not None:
            mean = "failed"
        style = "bold" if trial.number == done.best.number else "dim" if trial.error is not None else ""
        table.add_row(str(trial.number), *values, *figures, mean, f"{trial.seconds:.0f}", style=style)
    console().print(table)
    if any(len(setting.trials) > 1 for setting in done.settings):
        over = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in (*(key for key in keys if key != "seed"), "seeds", "mean ± deviation"):
            over.add_column(name, overflow="fold")
        for setting in done.settings:
            figure = f"{setting.mean:.4f} ± {setting.deviation:.4f}"
            values = [Text(setting.point[key]) for key in keys if key != "seed"]
            over.add_row(*values, str(len(setting.trials)), figure)
        print()
        console().print(over)
    test = [f"{task} {metric} {done.best.test[task][metric]:.4f}" for task, metric in done.by.items()
            if metric in done.best.test.get(task, {})]  # fmt: skip
    print(
        f"\nbest: trial {done.best.number}, {done.best.directory}" + (f"   on test: {', '.join(test)}" if test else "")
    )
    print(f"train it again: braid train {shlex.join([str(recipe), *done.overrides])}")
