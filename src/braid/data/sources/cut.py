"""A share of another split's rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from braid.data.example import SourceRow
from braid.data.sources.base import Source


class Cut(Source):
    """A share of another split's rows, drawn by the recipe's seed and taken out of that split: `dev: 10%`."""

    type: Literal["cut"] = "cut"

    share: float = Field(gt=0, lt=1)
    """How much of the other split is cut out: 0.1 is a tenth of its rows."""

    of: Literal["train", "dev", "test"] = "train"
    """The split that is cut."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """Never called: which rows are cut is known only where all splits are (`braid.data.examples`)."""
        raise AssertionError("a cut has no rows of its own")

    def fingerprint(self, split: str) -> str | None:
        """None: the rows are those of the split that is cut."""
        return None
