"""Every group as often as every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from braid.data.samplers.base import Sampler, shares


class Uniform(Sampler):
    """Every group as often as every other, whatever its size; with rates in the chain, exactly by those rates.

    An epoch has as many rows as all groups together."""

    type: Literal["uniform"] = "uniform"

    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        return shares(sum(sizes), [rate if size else 0.0 for size, rate in zip(sizes, rates, strict=True)])
