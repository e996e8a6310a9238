"""What a sampler is: how many rows of each group an epoch draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from braid.config.families import SamplerConfig


class Sampler(SamplerConfig, ABC):
    """Base of all samplers. Pure functions of sizes, rates and the epoch: no state, no randomness.

    The rates that the chain gives (`group*2`) multiply whatever a sampler says."""

    @abstractmethod
    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        """Rows to draw from each group in epoch `epoch` (from 0) of `epochs`."""


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """`total` rows divided by weights, exactly (largest remainders get the rows that rounding leaves)."""
    weight = np.asarray(weights, dtype=np.float64)
    if weight.sum() <= 0:
        return [0] * len(weight)
    exact = total * weight / weight.sum()
    counts = np.floor(exact).astype(np.int64)
    rest = int(total - counts.sum())
    counts[np.argsort(-(exact - counts), kind="stable")[:rest]] += 1
    return [int(count) for count in counts]
