"""As uniform as a cap on repeats allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from braid.data.samplers.base import Sampler


class UniMax(Sampler):
    """Uniform over groups, but no row more than `repeats` times in the whole run (Chung et al. 2023, "UniMax",
    arXiv 2304.09151, algorithm 1): small groups stop at their cap, the rest share what is left.

    An epoch has as many rows as all groups together, or fewer where the caps leave no more to draw."""

    type: Literal["unimax"] = "unimax"
    repeats: float = Field(default=4.0, gt=0)
    """How often a row may be seen in the whole run."""

    def draws(self, sizes: Sequence[int], rates: Sequence[float], *, epoch: int, epochs: int) -> list[int]:
        return [total * (epoch + 1) // epochs - total * epoch // epochs for total in self._totals(sizes, rates, epochs)]

    def _totals(self, sizes: Sequence[int], rates: Sequence[float], epochs: int) -> list[int]:
        """Rows of each group in the whole run: the smallest caps are served first."""
        budget = float(sum(sizes) * epochs)
        order = sorted(range(len(sizes)), key=lambda g: sizes[g] / rates[g])
        totals = [0] * len(sizes)
        weight = sum(rates)
        for g in order:
            totals[g] = int(min(budget * rates[g] / weight, self.repeats * sizes[g]) + 1e-9)
            budget -= totals[g]
            weight -= rates[g]
        return totals
