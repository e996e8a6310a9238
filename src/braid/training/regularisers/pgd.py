"""PGD: each row's word vectors are moved in several small steps, within a ball."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braid.model.network import BraidModel
from braid.training.attack import directions, kept_within
from braid.training.regularisers.base import Losses, PlainPass, Regulariser, Running


class Pgd(Regulariser):
    """Adversarial training with projected gradient steps on word vectors (Madry et al. 2018, arXiv 1706.06083).

    r starts at 0; each step is r = project(r + step_size * g / |g|), g being the gradient of the step's loss at x + r
    with respect to all word vectors of the row, and both its norm and the ball's that of the row. The loss is L(x) +
    weight * L(x + r). One step of size *epsilon* is FGM."""

    type: Literal["pgd"] = "pgd"
    graphs: ClassVar[int] = 1
    without_effect: ClassVar[Mapping[str, Any]] = {"weight": 0.0}

    epsilon: float = Field(default=1.0, gt=0)
    """Radius of the ball: the largest Euclidean length of a row's change."""

    step_size: float = Field(default=0.3, gt=0)
    """Length of one step."""

    steps: int = Field(default=3, ge=1)
    """Steps: each costs a forward pass and most of a backward pass."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of the changed rows; that of the rows themselves is 1."""

    def begin(self, model: BraidModel) -> Running | None:
        """Nothing is kept."""
        return _Pgd(self) if self.weight else None


class _Pgd(Running):
    attacks = adds = True

    def __init__(self, config: Pgd) -> None:
        self.config = config

    def added(self, plain: PlainPass) -> Losses:
        """The losses of the changed rows."""
        change_TM = self._moved(torch.zeros_like(plain.slope), plain.slope, plain)
        for _ in range(self.config.steps - 1):
            change_TM = self._moved(change_TM, _slope(change_TM, plain), plain)
        return {name: self.config.weight * loss for name, loss in plain.again(change_TM).losses.items()}

    def _moved(self, change_TM: Tensor, slope_TM: Tensor, plain: PlainPass) -> Tensor:
        step_TM = self.config.step_size * directions(slope_TM, plain.batch, "l2")
        return kept_within(change_TM + step_TM, plain.batch, "l2", self.config.epsilon)


def _slope(change_TM: Tensor, plain: PlainPass) -> Tensor:
    """The gradient of the step's loss where the word vectors were moved to."""
    change_TM = change_TM.detach().requires_grad_()
    total = plain.total(plain.again(change_TM).losses)
    if total is None:
        return torch.zeros_like(change_TM)
    (found,) = torch.autograd.grad(total, [change_TM])
    return found
