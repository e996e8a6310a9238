"""Multi-sample dropout: the heads are asked several times with different dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from braid.model.network import BraidModel
from braid.training.regularisers.base import Losses, PlainPass, Regulariser, Running


class MultiSampleDropout(Regulariser):
    """The heads are asked several times with different dropout, and the loss is the mean (Inoue 2019, arXiv
    1905.09788). The encoder runs once, so it costs little. Heads without dropout are asked once."""

    type: Literal["multi_sample_dropout"] = "multi_sample_dropout"
    without_effect: ClassVar[Mapping[str, Any]] = {"samples": 1}

    samples: int = Field(default=8, ge=1)
    """How often."""

    dropout: float | None = Field(default=None, gt=0, lt=1)
    """Dropout of all heads while training, for as many samples bear more of it (the paper: 0.3 to 0.5). None: as each
    task says."""

    def begin(self, model: BraidModel) -> Running | None:
        """Sets the rate of the heads' dropout."""
        asked = []
        for name, head in model.heads():
            found = [module for module in head.modules() if isinstance(module, nn.Dropout)]
            for module in found:
                module.p = module.p if self.dropout is None else self.dropout
            if any(module.p > 0 for module in found):
                asked.append(name)
        return _MultiSampleDropout(self, asked) if asked and self.samples > 1 else None


class _MultiSampleDropout(Running):
    adds = True

    def __init__(self, config: MultiSampleDropout, asked: Sequence[str]) -> None:
        self.config, self.asked = config, asked

    def added(self, plain: PlainPass) -> Losses:
        """What the mean of all samples' losses is more than the first's."""
        names = [name for name in self.asked if name in plain.done.logits]
        samples = [plain.model.judged(plain.done.hidden, plain.scope, names)[1] for _ in range(self.config.samples - 1)]
        return {
            name: torch.stack([sample[name] - plain.done.losses[name] for sample in samples]).sum()
            / self.config.samples
            for name in names
        }
