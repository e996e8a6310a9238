"""What to do with the files of models: `inspect`, `average`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, console, print_figures
from braid.errors import BraidError


def inspect(
    path: Annotated[Path, typer.Argument(help="A run, an encoder, a file of weights, a corpus, a vocabulary.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor with its shape.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a directory or file is, what is in it, and whether it is whole."""
    from braid.tools.inspect import inspect as look
    from braid.tools.inspect_table import render

    report = look(path)
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False, default=str))
    else:
        console().print(render(report, tensors=tensors))
    if not report.ok:
        raise typer.Exit(2)


def average(
    runs: Annotated[list[Path], typer.Argument(help="Runs, saved states (RUN/state/step-N), or an unfinished run.")],
    out: Annotated[Path, typer.Option(help="The run directory to write.", show_default=False)],
    weights: Annotated[str | None, typer.Option(help="One for each, by commas: 2,1,1. Without it, all alike.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Keep only those that do not make dev worse.")] = False,
    by: Annotated[str | None, typer.Option(help="With --greedy: what counts, task.metric; else all tasks.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """The mean of several models' weights as a model of its own (model soups)."""
    from braid.run.averaging import average as run_average
    from braid.tools.average_table import render

    made = run_average(
        runs,
        out,
        weights=None if weights is None else numbers(weights),
        greedy=greedy,
        by=[] if by is None else [entry.strip() for entry in by.split(",")],
        overwrite=overwrite,
        say=lambda message: print(message, file=sys.stderr),
    )
    if as_json:
        shares = [{"run": share.name, "weight": share.weight, "dev": share.dev} for share in made.shares]
        print(json.dumps({"directory": str(made.directory), "made_of": shares, **made.metrics}, ensure_ascii=False))
        return
    console().print(render(made))
    print_figures(made.metrics, made.main)
    print(f"model: {made.directory}   try: braid predict {made.directory}", file=sys.stderr)


def numbers(text: str) -> list[float]:
    """Numbers between commas. Raises BraidError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BraidError(f"--weights {text}: write numbers with commas between them, for example 2,1,1") from None
