"""What recipes can say: the JSON Schema for editors, the lists for `braid list`."""

from __future__ import annotations

import inspect
import re
from typing import Any

from braid.config import families as _  # noqa: F401  (defining the families registers them)
from braid.config.variant import Variant, families, file_of
from braid.errors import BraidError, did_you_mean


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe: variants by their `type`, descriptions from the docstrings."""
    from braid.config.recipe import Recipe

    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Braid recipe"}


def list_variants(family: str) -> list[tuple[str, str, str]]:
    """(type, file, first sentence of the docstring) of every variant of a family, by type. Raises BraidError."""
    known: dict[str, type[Variant]] = {base.family: base for base in families()}
    if family not in known:
        raise BraidError(f"there is no family {family!r}: {did_you_mean(family, known)}")
    return [(name, file_of(variant), _summary(variant)) for name, variant in known[family].variants().items()]


def _summary(variant: type[Variant]) -> str:
    # The class's own docstring: an inherited one would describe something else.
    own = variant.__dict__.get("__doc__") or ""
    first = " ".join(inspect.cleandoc(own).split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", first)[0]
