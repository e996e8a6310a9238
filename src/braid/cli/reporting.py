"""What to show of a run, and to whom: `report`, `push`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, RunArgument, short
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


def push(
    run: RunArgument,
    repo_id: Annotated[str, typer.Argument(help="USER/NAME on the hub.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="For all to see, if the repository is made now.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go up; needs no network.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="What the commit says.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a finished run to the Hugging Face hub: card, encoder, heads, recipe, figures. Private unless --public."""
    from braid.report.push import push as upload

    done = upload(run, repo_id, private=not public, dry_run=dry_run, message=message)
    for warning in done.warnings:
        print(f"note: {warning}; these names go up too", file=sys.stderr)
    if as_json:
        print(json.dumps(asdict(done), ensure_ascii=False))
        return
    width = max(len(name) for name in done.files)
    for name, size in done.files.items():
        print(f"{name:{width}}  {size:>14,}")
    kind = "private" if done.private else "public"
    print(f"{f'{len(done.files)} files':{width}}  {done.size:>14,} bytes", file=sys.stderr)
    if done.url is None:
        print(f"would go to {repo_id} ({kind}, if it is made new); nothing was sent", file=sys.stderr)
    else:
        print(done.url, file=sys.stderr)
