"""Neighbours as a table, and the lists of words that they are asked by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.table import Table

from braid.data.textfile import lines
from braid.errors import BraidError, DataError, Place, Problem
from braid.predict.nearest import Neighbours

COLUMNS = 5
"""Words beside each other."""


def render(found: Sequence[Neighbours]) -> Iterator[Table | str]:
    """Tables with a column for each word: its neighbours, the nearest first, and their cosines; each sentence in front
    of its own."""
    for text, group in groupby(found, key=lambda one: one.text):
        here = list(group)
        if text is not None:
            yield text
        for some in (here[first : first + COLUMNS] for first in range(0, len(here), COLUMNS)):
            table = Table()
            table.add_column("#", justify="right")
            for one in some:
                table.add_column(one.word)
            for rank in range(max(len(one.neighbours) for one in some)):
                table.add_row(str(rank + 1), *(_cell(one, rank) for one in some))
            yield table


def _cell(one: Neighbours, rank: int) -> str:
    if rank >= len(one.neighbours):
        return ""
    return f"{one.neighbours[rank].word} {one.neighbours[rank].cosine:.3f}"


def word_list(path: Path) -> list[str]:
    """The words of a file, one a line. Raises
    BraidError for a file that is not there or empty."""
    found = [line.strip() for _, line in lines(str(path), "utf-8") if line.strip()]
    if not found:
        raise BraidError(f"{path}: there is no word in it")
    return found


def word_pairs(path: Path) -> list[tuple[str, str]]:
    """The sentences and words of a file, separated by a tab. Raises DataError naming all lines that are not so."""
    pairs: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for number, line in lines(str(path), "utf-8"):
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) == 2 and all(parts) and parts[1] in parts[0]:
            pairs.append((parts[0], parts[1]))
        elif line.strip():
            what = "the word does not stand in the sentence" if len(parts) == 2 else "not a sentence, a tab, and a word"
            problems.append(Problem(what=what, place=Place(file=str(path), line=number)))
    if problems:
        raise DataError(problems)
    if not pairs:
        raise BraidError(f"{path}: there is no sentence in it")
    return pairs
