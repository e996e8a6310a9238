"""What recipes can say: the JSON Schema for editors, the lists for `braid list`."""

from __future__ import annotations

import inspect
from typing import Any

from braid.config.variant import families, file_of


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe."""
    from braid.config.recipe import Recipe

    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Braid recipe", **schema}


def list_variants(family: str) -> list[tuple[str, str, str]]:
    """(type, file, first line of the docstring) of every variant of a family."""
    base = next(base for base in families() if base.family == family)
    return [
        (name, file_of(variant), (inspect.getdoc(variant) or "").split("\n")[0])
        for name, variant in base.variants().items()
    ]
