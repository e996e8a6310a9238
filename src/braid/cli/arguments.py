"""What several commands share: their arguments, the console, the table of figures."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the recipe: train.lr=3e-5 tasks.ner.crf=true", show_default=False),
]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
ModelArgument = Annotated[
    Path,
    typer.Argument(help="A run directory, or one in transformers' layout (also package:NAME/dir).", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Trust = Annotated[bool, typer.Option("--trust", help="Read a torch.export program, which can run code.")]


def console() -> Console:
    """As wide as the terminal; in a file or a pipe wide enough for paths."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)


def short(path: str) -> str:
    """A file's path, relative to here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def print_figures(metrics: Mapping[str, Any], main: Mapping[str, str]) -> None:
    """The table of scores, or that there is nothing to score. *main*: the metric that counts, by task."""
    from braid.training.progress import results_table

    if any(metrics.get(split) for split in ("dev", "test")) or "seconds" not in metrics.get("train", {"seconds": 0}):
        console().print(results_table(metrics, main))
    else:
        print("no dev or test data, so nothing to score", file=sys.stderr)
