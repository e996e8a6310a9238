"""Between proportional and uniform: sizes to the power 1/temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from braid.data.samplers.base import Sampler, shares


class Temperature(Sampler):
    """Groups by size ** (1 / temperature) (mBERT's and XLM-R's multilingual sampling; T5's "temperature mixing").

    temperature 1 is proportional, large ones approach uniform. An epoch has as many rows as all groups together."""

    type: Literal["temperature"] = "temperature"
    temperature: float = Field(default=2.0, ge=1)
    """T in size ** (1/T)."""

    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        weights = [rate * size ** (1 / self.temperature) for size, rate in zip(sizes, rates, strict=True)]
        return shares(sum(sizes), weights)
