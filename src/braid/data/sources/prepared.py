"""Token shards that `braid prepare` made, on this machine or on others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import Source
from braid.errors import DataError, Problem


class Prepared(Source):
    """A folder of token shards that `braid prepare` made with this recipe's tokenizer."""

    type: Literal["prepared"] = "prepared"
    reads_folder: ClassVar[bool] = True

    path: str
    """The folder."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """Raises DataError: it holds tokens, no texts, so only tasks that make their own targets can read it."""
        what = f"{self.path}: prepared shards hold tokens without labels; only mlm, clm and their like can read them"
        raise DataError([Problem(what=what)])

    def fingerprint(self, split: str) -> str | None:
        """None: its index tells what it is."""
        return None
