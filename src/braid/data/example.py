"""One input with its labels, and what the tokenizer made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braid.errors import Place


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What a source yields: the fields of one row under the file's own column names, and where it stood."""

    fields: dict[str | int, Any]
    line: int
    file: str


@dataclass(frozen=True, slots=True)
class Example:
    """One input. `text` is the user's own string; where a row gave only `words` it is those words joined."""

    text: str
    pair: str | None = None
    words: tuple[str, ...] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None
    query: str | None = None
    """Which query a ranked input answers: rows that share it are ranked against each other."""
    options: tuple[str, ...] | None = None
    """What a multiple-choice input is to be answered with."""


@dataclass(frozen=True, slots=True)
class Window:
    """One row of tokens: an example, or one of the overlapping windows of a long one.

    *ids* [T], *segments* [T], *offsets* [T, 2]: characters of `text` (segment 0) or `pair` (segment 1);
    special tokens have (0, 0). *units* [U, 2]: character spans of ALL the example's units (words or characters;
    U = 0 where no task of the group reads units). This window owns units `first_unit:last_unit`: each unit
    of an example is owned by exactly one window. *unit_tokens* [last_unit - first_unit]: the position in this row
    of each owned unit's first piece.
    """

    ids: np.ndarray
    segments: np.ndarray
    offsets: np.ndarray
    units: np.ndarray
    first_unit: int
    unit_tokens: np.ndarray
    number: int = 0
    truncated: bool = False

    @property
    def last_unit(self) -> int:
        """End (exclusive) of the units that this window owns."""
        return self.first_unit + len(self.unit_tokens)
