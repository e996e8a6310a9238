"""Whether two models say the same, task by task: what they answer, what they predict, how far their numbers differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from braid.data.example import Example
from braid.predict.predictor import Predictor

TOLERANCE = 1e-4
"""How far numbers of an exported model may be from ours in float32: probabilities and scores absolutely, larger values
(a regression's) by their size."""


@dataclass(frozen=True)
class Agreement:
    """Of one task: *inputs* that were compared; *different*: those whose predictions are not equal; *ties*: how many
    of these differ only because two answers are equally good but for the last digits; *furthest*: the largest
    difference of two numbers of predictions that are otherwise equal; *raw*: the largest of the graph's outputs."""

    inputs: int
    different: int
    ties: int
    furthest: float
    raw: float

    @property
    def exact(self) -> bool:
        """Whether this is the same model, up to rounding."""
        return self.different == self.ties and self.furthest <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return asdict(self)


def agreement(
    ours: Predictor, theirs: Predictor, examples: Mapping[str, Sequence[Example]], *, tasks: Sequence[str]
) -> dict[str, Agreement]:
    """How far two models agree on each task's own examples."""
    out = {}
    for task in tasks:
        given = list(examples.get(task, []))
        one, other = ours.answered(given, [task])[task], theirs.answered(given, [task])[task]
        assert one.numbers == other.numbers, "both read the same inputs"
        chosen = [given[number] for number in one.numbers]
        predicted = ours.decode(task, one.values, chosen, one.units)
        exported = theirs.decode(task, other.values, chosen, other.units)
        different = ties = 0
        furthest = raw = 0.0
        for a, b, x, y in zip(predicted, exported, one.values, other.values, strict=True):
            apart = float(np.abs(x - y).max(initial=0)) if x.shape == y.shape else np.inf
            raw = max(raw, apart)
            distances = list(_distances(a.to_json(), b.to_json()))
            if np.inf in distances:
                different += 1
                ties += apart <= TOLERANCE * max(1.0, float(np.abs(x).max(initial=0)))
            else:
                furthest = max([furthest, *distances])
        out[task] = Agreement(len(chosen), different, ties, furthest, raw)
    return out


def _distances(one: Any, other: Any) -> Iterator[float]:
    """How far the numbers of two JSON values are apart; infinitely, where anything else differs."""
    if isinstance(one, float) and isinstance(other, float):
        yield 0.0 if one == other else abs(one - other) / max(1.0, abs(one))
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from _distances(one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for a, b in zip(one, other, strict=True):
            yield from _distances(a, b)
    elif one != other or type(one) is not type(other):
        yield np.inf
