"""What to show of a run, and to whom: `report`, `push`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import RunArgument, short
from braid.errors import BraidError


def report(
    run: RunArgument,
    other: Annotated[Path | None, typer.Argument(help="A second run, to stand beside it.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write. Without it: RUN/report.html.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Whose rows are looked at: dev, test or train. Without it: dev, else test.")
    ] = None,
    examples: Annotated[int, typer.Option(help="The hardest rows shown of each task, with their texts.", min=0)] = 10,
) -> None:
    """Curves, figures, confusions, calibration, hardest examples and more of a run, or of two, as one HTML file."""
    from braid.data.progress import counting
    from braid.report.page import report as write

    if split not in (None, "train", "dev", "test"):
        raise BraidError(f"there is no split {split!r}; use train, dev or test")
    with counting() as told:
        path = write(run, other, output=output, split=split, examples=examples, told=told)
    print(f"{short(str(path))}  {path.stat().st_size / 1e3:,.0f} kB", file=sys.stderr)
