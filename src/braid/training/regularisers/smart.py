"""SMART: answers must not change with small changes of the input, nor quickly from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from braid.model.network import BraidModel, Pass
from braid.training.attack import directions, kept_within
from braid.training.average import Average
from braid.training.regularisers.base import Losses, PlainPass, Regulariser, Running


class Smart(Regulariser):
    """Smoothness against small changes of the word vectors, and a proximal term that keeps the model near a moving
    average of itself (Jiang et al. 2020, arXiv 1911.03437).

    The loss is L(x) + weight * max_r l(f(x), f(x + r)) + proximal * l(f(x), f'(x)), |r| <= epsilon in every element. l
    is KL(p || q) + KL(q || p) for probabilities and the squared difference for numbers; f' has the averaged weights and
    no dropout. r starts as noise and goes *steps* steps along the gradient of l, divided by its largest element in the
    row."""

    type: Literal["smart"] = "smart"
    compares: ClassVar[bool] = True
    graphs: ClassVar[int] = 1
    without_effect: ClassVar[Mapping[str, Any]] = {"weight": 0.0, "proximal": 0.0}

    weight: float = Field(default=1.0, ge=0)
    """Weight of the smoothness (the paper's lambda: 1, 3 or 5). 0: it is not computed."""

    epsilon: float = Field(default=0.02, gt=0)
    """Largest change of any element of a word vector. The paper's 1e-5 is lost in bf16; MiniLM's word vectors
    have elements of 0.056 (standard deviation)."""

    step_size: float = Field(default=0.02, gt=0)
    """Largest change of any element in one step (the paper's eta: 1e-3)."""

    steps: int = Field(default=1, ge=1)
    """Steps of ascent: each costs a forward pass and most of a backward pass."""

    noise: float = Field(default=1e-3, ge=0)
    """Standard deviation of the noise that r starts as (the paper's sigma: 1e-5)."""

    proximal: float = Field(default=1.0, ge=0)
    """Weight of the Bregman proximal term (the paper's mu: 1). 0: no average is kept."""

    decay: float = Field(default=0.99, ge=0, lt=1)
    """How much of the average is kept in each step (the paper's beta: 0.99 at first, then 0.999)."""

    def begin(self, model: BraidModel) -> Running | None:
        """Keeps the average of the weights, where there is a proximal term."""
        return _Smart(self, model) if self.weight or self.proximal else None


class _Smart(Running):
    adds = True

    def __init__(self, config: Smart, model: BraidModel) -> None:
        self.config = config
        self.teacher = _Teacher(model) if config.proximal else None

    def added(self, plain: PlainPass) -> Losses:
        """Smoothness and nearness to the average."""
        out: Losses = {}
        if self.config.weight:
            away = plain.again(self.change(plain)).logits
            out = {name: self.config.weight * apart for name, apart in plain.apart(away).items()}
        if self.teacher is not None:
            for name, apart in plain.apart(self.teacher.passed(plain).logits).items():
                out[name] = out.get(name, 0.0) + self.config.proximal * apart
        return out

    def start(self, plain: PlainPass) -> Tensor:
        """The noise [T, M] that the change starts as."""
        table = plain.model.encoder.word_embeddings
        return self.config.noise * torch.randn(plain.batch.n_tokens, table.shape[1], device=table.device)

    def change(self, plain: PlainPass) -> Tensor:
        """The change [T, M] of the word vectors that the answers are compared at."""
        change_TM, here = self.start(plain), {name: values.detach() for name, values in plain.done.logits.items()}
        for _ in range(self.config.steps):
            change_TM = change_TM.requires_grad_()
            total = plain.total(plain.apart(plain.again(change_TM).logits, here))
            if total is None:
                return change_TM.detach()
            (slope_TM,) = torch.autograd.grad(total, [change_TM])
            step_TM = self.config.step_size * directions(slope_TM, plain.batch, "inf")
            change_TM = kept_within(change_TM.detach() + step_TM, plain.batch, "inf", self.config.epsilon)
        return change_TM

    def stepped(self) -> None:
        """The average follows."""
        if self.teacher is not None:
            self.teacher.average.update(self.config.decay)

    def state(self) -> dict[str, Tensor]:
        """The average."""
        return {} if self.teacher is None else self.teacher.average.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The average."""
        if self.teacher is not None:
            self.teacher.average.load(state)


class _Passing(nn.Module):
    """A module whose forward pass is the model's."""

    def __init__(self, model: BraidModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, plain: PlainPass) -> Pass:
        return self.model.passed(plain.batch, plain.scope)


class _Teacher:
    """The model as it is with averaged weights."""

    def __init__(self, model: BraidModel) -> None:
        self.model, self.passing, self.average = model, _Passing(model), Average(model)

    @torch.no_grad()
    def passed(self, plain: PlainPass) -> Pass:
        """Its forward pass, without dropout. The model's own weights are not touched: their graph is still needed."""
        weights = {f"model.{name}": weight for name, weight in self.average.weights.items()}
        self.model.eval()
        try:
            found: Pass = torch.func.functional_call(self.passing, weights, (plain,))
            return found
        finally:
            self.model.train()
