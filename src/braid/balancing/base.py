"""What a balancer is: how the losses of several tasks become one gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from braid.config.families import BalancerConfig


class Balancer(BalancerConfig, ABC):
    """Base of all balancing methods."""

    @abstractmethod
    def backward(self, losses: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> None:
        """Add gradients to every parameter. *losses*: each task's scalar, already weighted and normalised, of one
        micro-batch; *shared*: the encoder's parameters."""
