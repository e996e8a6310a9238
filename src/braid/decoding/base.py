"""How what a head says becomes predictions, in NumPy: neither torch nor anything of training is needed.

A head builds its `Decoder` from its parameters (`Head.decoding`); an exported directory holds the same, written down.
Shape legend: C values, U units of an example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, Self

import numpy as np

from braid.data.example import Example
from braid.data.windows import Layout, UnitKind
from braid.errors import BraidError

Together = Literal["row", "example", "query"]
"""What belongs together: nothing but the row, all rows of an example, or all rows of all examples with one query."""


PLAIN = (str, int, float, dict, type(None))
"""What is written as it is; most parts are."""


@dataclass(frozen=True)
class Prediction:
    """What a task says of one text. Each task type defines its own; labels are strings, never ids."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping. Lists of numbers and strings are the prediction's own."""
        return _written(self)


def _written(value: Any) -> dict[str, Any]:
    """As `dataclasses.asdict`, which takes many times as long: it copies every list deeply."""
    out = dict(vars(value))
    for name, part in out.items():
        if isinstance(part, list):
            if part and is_dataclass(part[0]):
                out[name] = [_written(each) for each in part]
        elif not isinstance(part, PLAIN) and is_dataclass(part):
            out[name] = _written(part)
    return out


@dataclass(frozen=True)
class Need:
    """What an input must have beside its text: a *pair*, one that is more than spaces (*context*), or two *options*;
    *why*: what is said where it has not."""

    part: Literal["pair", "context", "options"]
    why: str

    def unfit(self, example: Example) -> str | None:
        """Why this input cannot be read; None: it can."""
        there = {
            "pair": example.pair is not None,
            "context": bool(example.pair and example.pair.strip()),
            "options": example.options is not None and len(example.options) >= 2,
        }
        return None if there[self.part] else self.why


@dataclass(frozen=True)
class Intake:
    """Which inputs a task reads, and as which rows; *together*: which of them it compares."""

    layout: Layout
    units: UnitKind
    together: Together = "row"
    need: Need | None = None

    def unfit(self, example: Example) -> str | None:
        """Why this input cannot be read; None: it can."""
        return None if self.need is None else self.need.unfit(example)


class Decoder(ABC):
    """Base of all decoders: frozen dataclasses, whose fields are strings, numbers, lists of these, and arrays."""

    kind: ClassVar[str]
    """The task type whose logits it reads; its class is found by this, in the module of this name or a plugin's."""

    embeds: ClassVar[bool] = False
    """Whether the logits are one vector of each text, which `embed` gives."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"arbitrary_types_allowed": True, "extra": "forbid"}
    _known: ClassVar[dict[str, type[Decoder]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Decoder._known[cls.kind] = cls

    @property
    def tunes(self) -> bool:
        """Whether `tuned` sets something from the dev data."""
        return False

    @abstractmethod
    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A `Prediction` per example. *logits*: float32, [n, C] per example (its windows end to end, in order);
        *units* [U, 2]: character spans of each example's units."""

    def tuned(
        self,
        logits: Sequence[np.ndarray],
        golds: Sequence[Any],
        examples: Sequence[Example],
        units: Sequence[np.ndarray],
    ) -> Self:
        """The decoder with what is not learned by gradients (thresholds) set so that these labels come out best;
        `golds` as the meter gets them."""
        return self

    def saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What `restored` takes: JSON-able options, and arrays."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
        return {name: value for name, value in given.items() if name not in arrays}, arrays


def restored(kind: str, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Decoder:
    """A decoder from what it saved. Raises BraidError for a kind that is not known, ValueError for what makes none of
    its kind."""
    from pydantic import TypeAdapter

    if kind not in Decoder._known and kind.isidentifier() and find_spec(f"braid.decoding.{kind}") is not None:
        import_module(f"braid.decoding.{kind}")
    if kind not in Decoder._known:
        raise BraidError(f"nothing here decodes a {kind} task. Is it a plugin's? Import the plugin first.")
    found: Decoder = TypeAdapter(Decoder._known[kind]).validate_python({**options, **arrays})
    return found
