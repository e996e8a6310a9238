"""`braid export`: models for other machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braid.cli.arguments import AsJson, RunArgument, console

if TYPE_CHECKING:
    from rich.table import Table

    from braid.export.exporting import Exported


def export(
    run: RunArgument,
    to: Annotated[str, typer.Option(help="onnx, or torch: a torch.export program.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", help="The directory; RUN-onnx beside the run by default.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, separated by commas.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="The encoder's weights as int8, for processors.")] = False,
    tolerance: Annotated[float, typer.Option(help="How far a task's dev figure may fall.", min=0.0, max=1.0)] = 0.005,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is already there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encoder and all heads as one graph that runs without training parts. It is compared with the run before it is
    kept; `braid predict` and `braid.load` take its directory as they take a run."""
    from braid.export.exporting import export as run_export

    wanted = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    found = run_export(
        run,
        to=to,  # type: ignore[arg-type]
        out=out,
        tasks=wanted,
        int8=int8,
        tolerance=tolerance,
        overwrite=overwrite,
        say=lambda text: print(text, file=sys.stderr),
    )
    if as_json:
        print(json.dumps({"directory": str(found.directory), **_figures(found)}, ensure_ascii=False))
        return
    console().print(_table(found))
    before, after = (f"{size / 1e6:,.1f} MB" for size in found.sizes)
    print(f"weights {before}, graph {after}", file=sys.stderr)
    print(f"exported: {found.directory}   try: braid predict {found.directory}", file=sys.stderr)


def _figures(found: Exported) -> dict[str, object]:
    return {
        "tasks": found.tasks,
        "left_out": found.left_out,
        "parity": {task: agreement.to_json() for task, agreement in found.parity.items()},
        "before": found.before,
        "after": found.after,
    }


def _table(found: Exported) -> Table:
    """A row a task: how far the graph agrees with the run, and the dev figure of both."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name, justify in (("task", "left"), ("inputs", "right"), ("equal", "right"), ("furthest", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("dev", "before", "after", "change"):
        table.add_column(name, justify="left" if name == "dev" else "right")
    for task, agreement in found.parity.items():
        metric = found.main[task]
        equal = f"{1 - agreement.different / max(1, agreement.inputs):.1%}"
        row = [task, str(agreement.inputs), equal, f"{agreement.furthest:.1e}"]
        if task in found.before:
            before, after = found.before[task][metric], found.after[task][metric]
            row += [metric, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
        table.add_row(*row)
    return table
