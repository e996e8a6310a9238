"""Which rows are held out together: k folds of a group's rows (Stone 1974; stratified as Kohavi 1995 advises)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from braid.data.example import Example
from braid.errors import BraidError

Document = Literal["row", "text", "pair"]


def assign(
    examples: Sequence[Example], strata: Sequence[str] | None, *, folds: int, seed: int, document: Document = "row"
) -> np.ndarray:
    """The fold of every example, [n] from 0, a pure function of its arguments.

    Rows of one query, rows that share their *document*, and rows with the same input stay together. *strata*: what
    every fold is to have its share of; those of fewer rows than folds count as one. Raises BraidError for fewer
    queries, documents or rows than folds."""
    together = _together(examples, document)
    several = int(together.max()) + 1 if len(together) else 0
    if several < folds:
        kind = "rows" if several == len(examples) else "sets of rows that must stay together"
        raise BraidError(f"{folds} folds need as many rows or more; there are {several} {kind}")
    return _divided(_stratified(strata, folds), together, alone=several == len(examples), folds=folds, seed=seed)


def _divided(stratum: np.ndarray | None, together: np.ndarray, *, alone: bool, folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    how = {"n_splits": folds, "shuffle": True, "random_state": seed % 2**32}
    if alone:
        splitter = KFold(**how) if stratum is None else StratifiedKFold(**how)
    else:
        splitter = GroupKFold(**how) if stratum is None else StratifiedGroupKFold(**how)
    rows = np.zeros(len(together))
    out = np.empty(len(together), dtype=np.int64)
    for fold, (_, held) in enumerate(splitter.split(rows, stratum, None if alone else together)):
        out[held] = fold
    return out


def _together(examples: Sequence[Example], document: Document) -> np.ndarray:
    """[n]: equal numbers for rows that must not be divided."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(_key(example, document), len(numbers)) for example in examples], dtype=np.int64)


def _key(example: Example, document: Document) -> object:
    if example.query is not None:
        return "query", example.query
    if document == "text" or (document == "pair" and example.pair is None):
        return "text", example.text
    if document == "pair":
        return "pair", example.pair
    return example.text, example.pair, example.options


def _stratified(strata: Sequence[str] | None, folds: int) -> np.ndarray | None:
    """[n] numbers of strata; None: nothing to have equal shares of."""
    if strata is None:
        return None
    counts = Counter(strata)
    names = sorted(name for name, count in counts.items() if count >= folds)
    rare = sum(count for count in counts.values() if count < folds)
    if not names or len(names) + bool(rare) < 2:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    # The few of rare labels, too few to be a stratum even together, go with the first.
    other = len(names) if rare >= folds else 0
    return np.array([numbers.get(name, other) for name in strata], dtype=np.int64)
