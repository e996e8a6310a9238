"""From proportional to (almost) uniform while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from braid.data.samplers.base import Sampler, shares


class Annealed(Sampler):
    """Annealed sampling: groups by size ** alpha, alpha falling linearly from 1 in the first epoch to `final` in the
    last (Stickland & Murray 2019, "BERT and PALs", arXiv 1902.02671, section 4.1: alpha = 1 - 0.8 (e-1)/(E-1))."""

    type: Literal["annealed"] = "annealed"
    final: float = Field(default=0.2, ge=0, le=1)
    """alpha of the last epoch."""

    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        alpha = 1 - (1 - self.final) * (epoch / (epochs - 1) if epochs > 1 else 0)
        weights = [rate * size**alpha if size else 0.0 for size, rate in zip(sizes, rates, strict=True)]
        return shares(sum(sizes), weights)
