"""What to do with the files of models: `inspect`, `average`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, console


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
