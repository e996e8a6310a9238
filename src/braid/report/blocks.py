"""What sections of a report are made of; the page's template draws each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Plot:
    """A drawing. *svg* is markup that matplotlib wrote; *alt* says what it shows."""

    svg: str
    alt: str
    kind: ClassVar[str] = "plot"


@dataclass(frozen=True)
class Table:
    """Text in columns; those from the *numbers*-th on stand to the right. Rows in *strong* are bold."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1
    strong: frozenset[int] = frozenset()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Matrix:
    """Counts [gold][predicted] of labels; *weights* of the same shape, 0..1, are how dark a cell is."""

    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    weights: Sequence[Sequence[float]]
    kind: ClassVar[str] = "matrix"


@dataclass(frozen=True)
class Text:
    """A sentence or two."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Heading:
    """Names what follows: a task."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Code:
    """Text as it stands."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Cards:
    """Boxes of named texts, such as examples: a list of (name, text) each."""

    cards: Sequence[Sequence[tuple[str, str]]]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Columns:
    """Blocks of several runs beside each other: (the run, its blocks)."""

    parts: Sequence[tuple[str, Sequence[Block]]]
    kind: ClassVar[str] = "columns"


Block = Plot | Table | Matrix | Text | Heading | Code | Cards | Columns


@dataclass(frozen=True)
class Section:
    """One part of a report. *name* is its anchor."""

    name: str
    title: str
    lead: str = ""
    blocks: Sequence[Block] = field(default_factory=list)


def number(value: object, digits: int = 4) -> str:
    """A figure as tables show it; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def percent(part: float, whole: float) -> str:
    """`3.2 %`; a dash where there is nothing to divide by."""
    return f"{100 * part / whole:.1f} %" if whole else "–"
