"""R-Drop: two passes with different dropout must say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from braid.model.network import BraidModel
from braid.training.regularisers.base import Losses, PlainPass, Regulariser, Running


class RDrop(Regulariser):
    """Two passes with different dropout must say the same (Liang et al. 2021, arXiv 2106.14448).

    The loss is the mean of both passes' losses + alpha / 2 * (KL(p1 || p2) + KL(p2 || p1)), row by row; for numbers
    alpha / 2 * (y1 - y2) ** 2."""

    type: Literal["rdrop"] = "rdrop"
    compares: ClassVar[bool] = True
    graphs: ClassVar[int] = 1
    without_effect: ClassVar[Mapping[str, Any]] = {"alpha": 0.0}

    alpha: float = Field(default=1.0, ge=0)
    """Weight of the divergence. The paper has 0.1 to 1 for GLUE and 5 for translation."""

    def begin(self, model: BraidModel) -> Running:
        """Nothing is kept."""
        return _RDrop(self)


class _RDrop(Running):
    adds = True

    def __init__(self, config: RDrop) -> None:
        self.config = config

    def added(self, plain: PlainPass) -> Losses:
        """Half of what the second pass's loss is more than the first's, and the divergence."""
        other, first = plain.again(), plain.done.losses
        apart = plain.apart(other.logits)
        return {
            name: 0.5 * (loss - first[name]) + 0.5 * self.config.alpha * apart[name]
            for name, loss in other.losses.items()
        }
