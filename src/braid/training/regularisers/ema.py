"""EMA: what is evaluated and saved is an average of the weights over the last steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from braid.model.network import BraidModel
from braid.training.average import Average, put
from braid.training.regularisers.base import Regulariser, Running


class Ema(Regulariser):
    """An exponential moving average of all weights is what is evaluated and saved (Polyak and Juditsky 1992; for
    networks Tarvainen and Valpola 2017, arXiv 1703.01780). Training itself goes on as without it."""

    type: Literal["ema"] = "ema"
    without_effect: ClassVar[Mapping[str, Any]] = {"decay": 0.0}

    decay: float = Field(default=0.99, ge=0, lt=1)
    """How much of the average is kept in each step: it spans about 1 / (1 - decay) steps."""

    warmup: bool = True
    """Whether less is kept at first, min(decay, (1 + n) / (10 + n)) in update n (from 0), so that a short run does not
    end with weights that it began with."""

    def begin(self, model: BraidModel) -> Running:
        """Keeps a copy of the weights."""
        return _Ema(self, model)


class _Ema(Running):
    def __init__(self, config: Ema, model: BraidModel) -> None:
        self.config, self.model, self.average = config, model, Average(model)

    def stepped(self) -> None:
        """The average follows."""
        n = self.average.updates
        decay = min(self.config.decay, (1 + n) / (10 + n)) if self.config.warmup else self.config.decay
        self.average.update(decay)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """The model has the average."""
        with self.average.in_place_of_weights():
            yield

    def finish(self) -> None:
        """The model has the average for good."""
        put(self.model, self.average.weights)

    def state(self) -> dict[str, Tensor]:
        """The average."""
        return self.average.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The average."""
        self.average.load(state)
