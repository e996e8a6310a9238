"""Names and settings of another program's checkpoints as reversible rules: one table serves import and export.

In a table our names are on the left. `{i}` is a layer; ours are numbered through, ALBERT's are `{g}` group and `{j}`
inner layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from braid.errors import BraidError
from braid.nn.transformer import ACTIVATIONS, Shape

Rules = Mapping[str, str | tuple[str, ...]]
"""A module or tensor of ours to theirs, or to several of theirs that are ours when laid on top of each other."""

_OF_LAYER = re.compile(r"layers\.(\d+)\.(\w+)\.(weight|bias)")


@dataclass(frozen=True)
class Layout:
    """How one `model_type` of transformers names its weights and settings. *prefix*: what stands before the names when
    the encoder is part of a model with a head; *shape*: reads the settings; *turned*: whether matrices of layers have
    their input first (GPT-2's `Conv1D`)."""

    model_type: str
    prefix: str
    names: Rules
    shape: Callable[[Mapping[str, Any]], Shape]
    turned: bool = False

    def to_theirs(self, state: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
        """Our state dict under transformers' names."""
        out: dict[str, Tensor] = {}
        for name, tensor in state.items():
            theirs = self._theirs(name, shape)
            for one, part in zip(theirs, tensor.chunk(len(theirs)), strict=True):
                out[one] = part.T.contiguous() if self._is_turned(name, part.ndim) else part
        return out

    def from_theirs(self, state: Mapping[str, Tensor], names: Iterable[str], shape: Shape) -> dict[str, Tensor]:
        """Tensors for our names out of a checkpoint's. Raises KeyError for what is not there."""
        out = {}
        for name in names:
            parts = [state[theirs] for theirs in self._theirs(name, shape)]
            joined = parts[0] if len(parts) == 1 else torch.cat(parts)
            out[name] = joined.T.contiguous() if self._is_turned(name, joined.ndim) else joined
        return out

    def wanted(self, state: Mapping[str, Tensor], shape: Shape) -> dict[str, tuple[int, ...]]:
        """Their names of everything in our state dict, with the sizes that they should have."""
        out: dict[str, tuple[int, ...]] = {}
        for name, tensor in state.items():
            theirs = self._theirs(name, shape)
            size = (tensor.shape[0] // len(theirs), *tensor.shape[1:])
            out.update(dict.fromkeys(theirs, size[::-1] if self._is_turned(name, tensor.ndim) else size))
        return out

    def found(self, names: Iterable[str]) -> dict[str, str]:
        """The names in a file by what they are without prefix and in today's spelling."""
        names = list(names)
        prefix = self.prefix if any(name.startswith(self.prefix) for name in names) else ""
        return {_modern(name.removeprefix(prefix)): name for name in names}

    def layer(self, number: int) -> str:
        """What the names of a layer begin with, where layers are not shared."""
        rule = self.names["layers.{i}.qkv"]
        first = rule if isinstance(rule, str) else rule[0]
        return first[: first.index("{i}.")] + f"{number}."

    def _is_turned(self, name: str, ndim: int) -> bool:
        return self.turned and ndim == 2 and name.startswith("layers.")

    def _theirs(self, name: str, shape: Shape) -> tuple[str, ...]:
        match = _OF_LAYER.fullmatch(name)
        if match:
            number = int(match[1])
            rule = self.names[f"layers.{{i}}.{match[2]}"]
            g, j = divmod(number, shape.inner)
            rules = (rule,) if isinstance(rule, str) else rule
            return tuple(f"{one.format(i=number, g=g, j=j)}.{match[3]}" for one in rules)
        if name in self.names:
            return (str(self.names[name]),)
        stem, _, kind = name.rpartition(".")
        return (f"{self.names[stem]}.{kind}",)


def _modern(name: str) -> str:
    """Names of the oldest checkpoints (TensorFlow's) in today's spelling."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def known_activation(name: Any) -> str:
    """An activation's name, if there is one. Raises BraidError."""
    if name not in ACTIVATIONS:
        raise BraidError(f"the activation {name!r} is not known; use `encoder: {{type: hf}}` for this model")
    return str(name)
