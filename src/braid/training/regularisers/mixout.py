"""Mixout: at random, weights are for one pass what they were before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from braid.model.network import BraidModel
from braid.nn.dropout import Dropout
from braid.training.regularisers.base import Regulariser, Running


class Mixout(Regulariser):
    """At random, elements of the encoder's weight matrices are for one forward pass what they were before training
    (Lee et al. 2020, arXiv 1909.11299).

    A weight w that was u becomes u + dropout(w - u), which is u with probability p, else (w - p u) / (1 - p); its mean
    is w. It is done to the encoder's linear layers (not to biases, norms, embeddings, recurrent layers), not to heads,
    which have no pretrained weights."""

    type: Literal["mixout"] = "mixout"
    needs_pretrained: ClassVar[bool] = True
    without_effect: ClassVar[Mapping[str, Any]] = {"p": 0.0}

    p: float = Field(default=0.3, ge=0, lt=1)
    """How often an element is what it was. The paper has up to 0.9."""

    def begin(self, model: BraidModel) -> Running | None:
        """Keeps a copy of the encoder's linear layers' weights as they are now."""
        found = [module for module in model.encoder.modules() if isinstance(module, nn.Linear)]
        return _Mixout(found, self.p) if found and self.p else None


class _Mixout(Running):
    def __init__(self, layers: list[nn.Linear], p: float) -> None:
        self.layers = layers
        for layer in layers:
            layer.forward = _mixing(layer, layer.forward, p)  # type: ignore[method-assign,assignment]

    def finish(self) -> None:
        """The layers are as others again."""
        for layer in self.layers:
            del layer.forward


def _mixing(layer: nn.Linear, plain: Callable[[Tensor], Tensor], p: float) -> Callable[[Tensor], Tensor]:
    before_OI, dropout = layer.weight.detach().clone(), Dropout(p)

    def forward(given: Tensor) -> Tensor:
        if not layer.training:
            return plain(given)
        return F.linear(given, before_OI + dropout(layer.weight - before_OI), layer.bias)

    return forward
