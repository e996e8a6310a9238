"""FGM: each row's word vectors are moved once, to where its loss grows fastest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from braid.model.network import BraidModel
from braid.training.attack import directions
from braid.training.regularisers.base import Losses, PlainPass, Regulariser, Running


class Fgm(Regulariser):
    """Adversarial training with one step of the gradient on word vectors (Miyato et al. 2017, arXiv 1605.07725).

    The loss is L(x) + weight * L(x + r), r = epsilon * g / |g|, g being the gradient of the step's loss with respect
    to all word vectors of the row (the row's own Euclidean norm, as in the paper; special tokens take part). The paper
    normalises the word vectors first; here *epsilon* counts in the vectors as they are."""

    type: Literal["fgm"] = "fgm"
    graphs: ClassVar[int] = 1
    without_effect: ClassVar[Mapping[str, Any]] = {"weight": 0.0}

    epsilon: float = Field(default=1.0, gt=0)
    """Euclidean length of a row's change."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of the changed rows; that of the rows themselves is 1."""

    def begin(self, model: BraidModel) -> Running | None:
        """Nothing is kept."""
        return _Fgm(self) if self.weight else None


class _Fgm(Running):
    attacks = adds = True

    def __init__(self, config: Fgm) -> None:
        self.config = config

    def added(self, plain: PlainPass) -> Losses:
        """The losses of the changed rows."""
        change_TM = self.config.epsilon * directions(plain.slope, plain.batch, "l2")
        return {name: self.config.weight * loss for name, loss in plain.again(change_TM).losses.items()}
