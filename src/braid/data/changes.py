"""What a task that makes its own targets does to a row, each time that row is drawn.

Everything random hangs on the recipe's seed, the step and the row alone: not on which process makes the batch, nor on
how a global batch is divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Draw:
    """One use of a row: *seed* of the recipe, *epoch*, and the global *step* (0 for evaluation)."""

    seed: int
    epoch: int = 0
    step: int = 0

    def rng(self, group: int, row: int, task: str = "") -> np.random.Generator:
        """Random numbers of this draw of a row."""
        return np.random.default_rng([self.seed, 0x64726177, self.step, group, row, *task.encode()])

    def fixed(self, group: int, row: int, task: str, *, duplicates: int) -> np.random.Generator:
        """Random numbers of one of the `duplicates` versions of a row, which epochs use in turn."""
        return np.random.default_rng([self.seed, 0x66697865, self.epoch % duplicates, group, row, *task.encode()])


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row of tokens. *ids*, *segments* [T]; *starts* [T] bool: which tokens begin a word, where a word splitter was
    asked; *characters*: of its text; *pair_label*: 1 where its second part is wrong, None where it is no pair."""

    ids: np.ndarray
    segments: np.ndarray
    starts: np.ndarray | None = None
    characters: float = 0.0
    pair_label: int | None = None

    def fed(self, ids: np.ndarray) -> Drawn:
        """The same row with other tokens."""
        return replace(self, ids=ids)


@dataclass(frozen=True, slots=True)
class Use:
    """Which row is drawn, and when."""

    draw: Draw
    group: int
    row: int


class Change(Protocol):
    """What one task does."""

    def __call__(self, row: Drawn, use: Use) -> tuple[Drawn, Mapping[str, np.ndarray] | None]:
        """The row as it is fed, and the task's target (None: this row has none)."""
        ...
