"""The plain sum of the weighted losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from braid.balancing.base import Balancer


class Sum(Balancer):
    """The plain sum of the weighted losses: one backward pass. The default."""

    type: Literal["sum"] = "sum"

    def backward(self, losses: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> None:
        if losses:
            torch.stack([losses[name] for name in sorted(losses)]).sum().backward()
