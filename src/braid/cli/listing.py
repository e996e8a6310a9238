"""What recipes can say: `list` and `schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, console, short
from braid.errors import BraidError


def list_variants(
    family: Annotated[
        str | None, typer.Argument(help="tasks, encoders, sources, samplers, balancers or regularisers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The variants that recipes can name: type, what it is, file."""
    from rich.markup import escape
    from rich.table import Table

    from braid.config.families import TaskConfig  # noqa: F401  (registers the families)
    from braid.config.schema import list_variants as listing
    from braid.config.variant import families
    from braid.errors import did_you_mean

    known = {base.family: base for base in families()}
    if family is not None and family not in known:
        raise BraidError(f"there is no family {family!r}: {did_you_mean(family, known)}")
    rows = {name: listing(name) for name in known if family in (None, name)}
    if as_json:
        print(json.dumps({name: [list(row) for row in found] for name, found in rows.items()}, ensure_ascii=False))
        return
    for name, found in rows.items():
        table = Table("type", "what", "file", title=name, title_justify="left", box=None, title_style="bold")
        for kind, path, line in found:
            table.add_row(kind, escape(line), short(path))
        console().print(table)


def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from braid.config.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
