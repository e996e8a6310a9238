"""What a regulariser is, and what it sees of a step.

The plain forward pass runs once, whatever the number of regularisers. Each is shown it and adds to the tasks' losses
what it has to say; none sees what another adds. So their order in a recipe changes nothing but the order in which
random numbers are drawn. Both the tasks' losses and what is added are sums over rows, and divided by the same counts.

Shape legend: T tokens, M size of word vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid.config.families import RegulariserConfig
from braid.data.batch import Batch
from braid.model.network import BraidModel, Pass

Losses = dict[str, Tensor]
"""A sum by task."""


@dataclass(eq=False)
class PlainPass:
    """The plain forward pass over a part of a global batch. *scope*: what logits are computed in; *done*: its losses,
    logits and hidden states; *shift* [T, M]: zeros that were added to the word vectors, where somebody asks for the
    gradient with respect to them; *scales*: what training multiplies the tasks' sums by."""

    model: BraidModel
    batch: Batch
    scope: AbstractContextManager[object]
    done: Pass
    shift: Tensor | None
    scales: Mapping[str, float]

    def again(self, shift: Tensor | None = None) -> Pass:
        """Another forward pass, with other dropout; *shift* [T, M] is added to the word vectors."""
        with nullcontext() if shift is None else self.model.encoder.shifted(shift):
            return self.model.passed(self.batch, self.scope)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """The step's one loss, as training scales it, times a constant: small scales would be lost in the attacks'
        gradients. None: nothing of this part counts."""
        largest = max((self.scales.get(name, 0.0) for name in losses), default=0.0)
        known = [losses[name] * (self.scales[name] / largest) for name in losses if self.scales.get(name)]
        return torch.stack(known).sum() if known else None

    def apart(self, others: Mapping[str, Tensor], first: Mapping[str, Tensor] | None = None) -> Losses:
        """By task, how far other logits are from those of this pass (or *first*)."""
        logits, targets = self.done.logits if first is None else first, self.batch.targets
        return {
            name: self.model.head(name).divergence(logits[name], others[name], targets[name])
            for name in logits.keys() & others.keys()
        }

    @cached_property
    def slope(self) -> Tensor:
        """The gradient [T, M] of the step's loss with respect to the word vectors."""
        assert self.shift is not None, "a regulariser that `attacks` was not asked"
        total = self.total(self.done.losses)
        if total is None:
            return torch.zeros_like(self.shift)
        # Only towards the word vectors: no weight's gradient is computed or changed.
        (found,) = torch.autograd.grad(total, [self.shift], retain_graph=True)
        return found


class Running:
    """A regulariser at work in one run."""

    attacks: ClassVar[bool] = False
    """Whether it reads `PlainPass.slope`."""
    adds: ClassVar[bool] = False
    """Whether `added` says anything."""

    def added(self, plain: PlainPass) -> Losses:
        """What it adds to the tasks' summed losses."""
        return {}

    def stepped(self) -> None:
        """After a step of the optimiser."""

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Around evaluation and the saving of what was evaluated."""
        yield

    def finish(self) -> None:
        """Training is over: leave the model as it is to be used."""

    def state(self) -> dict[str, Tensor]:
        """What it must remember to be resumed bitwise."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""


class Regulariser(RegulariserConfig, ABC):
    """Base of all regularisers; an instance is the config, `begin` puts it to work."""

    without_effect: ClassVar[Mapping[str, Any]]
    """Options with which it changes nothing, for the contract suite (of a model without dropout)."""

    @abstractmethod
    def begin(self, model: BraidModel) -> Running | None:
        """Put it to work on a model with its first weights. None: with these options there is nothing to do."""
