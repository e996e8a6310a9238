"""What it ran on, and the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braid.report.blocks import Block, Code, Section, Table, Text
from braid.report.view import View


def environment(views: Sequence[View]) -> Section:
    """Versions, platform, seed, and the hashes of the data."""
    found = [_flat(view.record.environment) for view in views]
    keys = list(dict.fromkeys(key for one in found for key in one if not key.startswith("data_sha256")))
    rows = [[key, *(one.get(key, "–") for one in found)] for key in keys]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(["", *(view.title for view in views)], rows, numbers=99))
    hashes = list(dict.fromkeys(path for view in views for path in view.record.environment.get("data_sha256", {})))
    if hashes:
        data = [
            [path, *(str(view.record.environment.get("data_sha256", {}).get(path, "–"))[:16] for view in views)]
            for path in hashes
        ]
        blocks.append(Table(["data", *(f"sha256 · {view.title}" for view in views)], data, numbers=99))
    return Section("environment", "Environment", "", blocks or [Text("environment.json is not there.")])


def recipe(views: Sequence[View]) -> Section:
    """The recipe as run; of two runs what differs, then both."""
    blocks: list[Block] = []
    if len(views) > 1:
        found = [_flat(view.record.recipe) for view in views]
        keys = list(dict.fromkeys(key for one in found for key in one))
        rows = [[key, *(one.get(key, "–") for one in found)] for key in keys if len({o.get(key) for o in found}) > 1]
        blocks.append(
            Table(["differs", *(view.title for view in views)], rows, numbers=99)
            if rows
            else Text("Both recipes are the same.")
        )
    for view in views:
        if len(views) > 1:
            blocks.append(Text(f"{view.title}:"))
        blocks.append(Code(view.record.recipe_text) if view.record.recipe_text else Text("recipe.yaml is not there."))
    return Section("recipe", "Recipe", "As run, every default filled in.", blocks)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings by dotted keys."""
    out: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            out.update(_flat(item, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = "–" if item is None else str(item)
    return out
