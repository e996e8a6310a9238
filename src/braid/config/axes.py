"""What a sweep varies: `train.lr=1e-5,3e-5 seed=1..3 train.warmup=uniform(0,0.2)`.

    a,b,c           each of these values (YAML; commas inside brackets and quotes divide nothing)
    1..3            whole numbers, both ends included
    log(a,b)        drawn between a and b, evenly in the logarithm; uniform(a,b) evenly; int(a,b) a whole number

Anything else is an ordinary override. Keys are those of overrides; one of `train` or of the encoder may be given by its
last part alone (`lr`), where that is no key at the top of a recipe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from braid.config.families import EncoderConfig
from braid.config.training import TrainConfig
from braid.errors import Place, Problem, RecipeError

TOP = ("name", "seed", "plugins", "encoder", "tasks", "chain", "train", "out", "cache")
MOST = 100_000
"""Points of a grid, beyond which one was hardly meant."""

_DRAWN = re.compile(r"(log|uniform|int)\(([^(),]+),([^(),]+)\)")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


@dataclass(frozen=True)
class Choices:
    """A key and its values, as they are written."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


@dataclass(frozen=True)
class Drawn:
    """A key whose values are drawn between *low* and *high*."""

    key: str
    kind: Literal["log", "uniform", "int"]
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.key}={self.kind}({self.low:g},{self.high:g})"

    def text(self, value: float) -> str:
        """A drawn value as an override has it: six digits, so that it can be typed again."""
        return str(round(value)) if self.kind == "int" else f"{value:.6g}"


@dataclass(frozen=True)
class Axes:
    """*fixed*: overrides that hold for all runs; *choices* and *drawn*: what varies."""

    fixed: tuple[str, ...]
    choices: tuple[Choices, ...]
    drawn: tuple[Drawn, ...]

    @property
    def varying(self) -> list[Choices | Drawn]:
        """All axes."""
        return [*self.choices, *self.drawn]

    @property
    def keys(self) -> list[str]:
        """Everything that varies."""
        return [axis.key for axis in self.varying]

    @property
    def grid(self) -> list[dict[str, str]]:
        """Every combination of the choices: key -> value; the last key varies fastest."""
        names = [axis.key for axis in self.choices]
        return [dict(zip(names, point, strict=True)) for point in product(*(axis.values for axis in self.choices))]

    def corners(self) -> Iterator[dict[str, str]]:
        """Points that show whether all are right: the grid, with the least and with the greatest of what is drawn."""
        for point in self.grid:
            yield {**point, **{axis.key: axis.text(axis.low) for axis in self.drawn}}
            if self.drawn:
                yield {**point, **{axis.key: axis.text(axis.high) for axis in self.drawn}}


def parse_axes(texts: Sequence[str]) -> Axes:
    """What the words of a command line vary. Raises RecipeError with all problems."""
    fixed: list[str] = []
    choices: list[Choices] = []
    drawn: list[Drawn] = []
    problems: list[Problem] = []
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            axis = _axis(full_key(key.strip()), value.strip()) if sign else None
        except ValueError as error:
            problems.append(Problem(what=str(error), place=Place(file=f"override {text!r}")))
            continue
        if isinstance(axis, Choices):
            choices.append(axis)
        elif isinstance(axis, Drawn):
            drawn.append(axis)
        else:
            fixed.append(f"{full_key(key.strip())}={value}" if sign else text)
    out = Axes(tuple(fixed), tuple(choices), tuple(drawn))
    for key in sorted({key for key in out.keys if out.keys.count(key) > 1}):
        problems.append(Problem(what=f"{key} varies twice", todo="write all its values behind one `=`"))
    for key in ("out", "name", "cache", "plugins"):
        if key in out.keys:
            problems.append(Problem(what=f"{key} cannot vary: every trial has a folder of its own"))
    if math.prod(len(axis.values) for axis in choices) > MOST:
        problems.append(
            Problem(what=f"the grid has more than {MOST:,} points", todo="draw from it: log(a,b) and --trials")
        )
    if not out.keys and not problems:
        problems.append(Problem(what="nothing varies", todo="give a key several values: train.lr=1e-5,3e-5 seed=1..3"))
    if problems:
        raise RecipeError(problems)
    return out


def full_key(key: str) -> str:
    """A key as the recipe has it. Raises ValueError for a short one that stands for several."""
    if "." in key or key in TOP:
        return key
    known = {f"encoder.{key}" for kind in EncoderConfig.variants().values() if key in kind.model_fields}
    known |= {f"train.{key}"} if key in TrainConfig.model_fields else set()
    if len(known) > 1:
        raise ValueError(f"{key!r} may be {' or '.join(sorted(known))}; write the whole key")
    return next(iter(known), key)


def _axis(key: str, value: str) -> Choices | Drawn | None:
    """What a value varies; None: nothing. Raises ValueError."""
    if found := _DRAWN.fullmatch(value):
        return _drawn(key, found[1], found[2], found[3])
    if found := _RANGE.fullmatch(value):
        first, last = int(found[1]), int(found[2])
        if first >= last:
            raise ValueError(f"{value} is no range: the second number must be the greater one")
        if last - first > MOST:
            raise ValueError(f"{value} has more than {MOST:,} values")
        return Choices(key, tuple(map(str, range(first, last + 1))))
    values = [part.strip() for part in _split(value)]
    if len(values) < 2:
        return None
    if "" in values:
        raise ValueError("there is an empty value between commas; write null for one, or quote it")
    twice = [one for one in dict.fromkeys(values) if values.count(one) > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice")
    return Choices(key, tuple(values))


def _drawn(key: str, kind: str, low: str, high: str) -> Drawn:
    try:
        first, last = float(low), float(high)
    except ValueError:
        raise ValueError(f"{kind}({low},{high}): both ends are numbers, for example log(1e-5,1e-3)") from None
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise ValueError(f"{kind}({low},{high}): the first number must be the smaller one")
    if kind == "log":
        if first <= 0:
            raise ValueError(f"log({low},{high}): a logarithm needs numbers greater than 0")
        return Drawn(key, "log", first, last)
    if kind == "int":
        if first != int(first) or last != int(last):
            raise ValueError(f"int({low},{high}): both ends are whole numbers")
        return Drawn(key, "int", first, last)
    return Drawn(key, "uniform", first, last)


def _split(text: str) -> Iterator[str]:
    """At commas outside of brackets and quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]
