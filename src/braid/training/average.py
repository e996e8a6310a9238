"""An exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Begins as the weights are; each update moves it towards what they are then."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self.updates = 0

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average = decay * average + (1 - decay) * weights."""
        now = dict(self.model.named_parameters())
        torch._foreach_lerp_(list(self.weights.values()), [now[name].detach() for name in self.weights], 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Within it, the model has the average."""
        before = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        put(self.model, self.weights)
        try:
            yield
        finally:
            put(self.model, before)

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs."""
        return {**self.weights, "updates": torch.tensor(self.updates)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave, bitwise."""
        self.updates = int(state["updates"])
        for name, weight in self.weights.items():
            weight.copy_(state[name])


@torch.no_grad()
def put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the parameters of these names."""
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
