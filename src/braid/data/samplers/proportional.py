"""Each row exactly once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from braid.data.samplers.base import Sampler


class Proportional(Sampler):
    """Each row exactly once an epoch (a group with rate r: r times). The default."""

    type: Literal["proportional"] = "proportional"

    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        return [round(size * rate) for size, rate in zip(sizes, rates, strict=True)]
