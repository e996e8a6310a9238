"""Linear layers as a CPU's bf16 kernels like them: few shapes, and weights' gradients from operands that lie well.

Shape legend: T rows (tokens), I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ROUND, FEW = 64, 16
"""On a CPU the number of tokens in linear layers is rounded up to a multiple of `ROUND`, about 2%: oneDNN compiles a
kernel for every new shape, which costs more than the empty places and, over many shapes, much memory. Fewer tokens than
8 x ROUND, as one text has, are rounded to a multiple of `FEW`, which is a tile of the CPU's matrix unit."""

STEPS = 4
"""Where nothing is learned, sizes between two powers of two: a server meets batches of every size, and a compiled
shape costs it some 50 ms once and 2 MB for good."""

LONG = 1536
"""From so many rows on it pays to turn the smaller operand of a weight's gradient, whichever it is."""


def places(rows: int, *, learning: bool = False) -> int:
    """How many places so many rows get on a CPU."""
    multiple = ROUND if rows >= 8 * ROUND else FEW
    if not learning:
        multiple = max(FEW, (1 << max(rows - 1, 0).bit_length()) // (2 * STEPS))
    return rows + -rows % multiple


def rounded(hidden_TD: Tensor) -> Tensor:
    """[T, D] with T rounded up by zeros on a CPU. No token ever sees them: linear layers and norms work place by place,
    attention reads real tokens only."""
    if hidden_TD.device.type != "cpu" or torch.compiler.is_exporting():
        return hidden_TD
    missing = places(len(hidden_TD), learning=torch.is_grad_enabled()) - len(hidden_TD)
    return F.pad(hidden_TD, (0, 0, 0, missing)) if missing else hidden_TD


class Linear(nn.Linear):
    """As `torch.nn.Linear`. On a CPU in mixed precision, where kernels are compiled for each shape, rows are `rounded`,
    and weights' gradients come in float32 from operands that are turned first where that is faster."""

    packed: tuple[torch.dtype, Callable[[Tensor], Tensor]] | None = None
    """What gives the same result sooner where nothing is learned, in this precision (`braid.nn.prepacked`)."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind) or not input.numel():
            return F.linear(input, self.weight, self.bias)
        low = torch.get_autocast_dtype(kind)
        packed = self.packed[1] if self.packed is not None and self.packed[0] == low else self._plain
        learning = torch.is_grad_enabled()
        if kind != "cpu":
            return self._plain(input) if learning else packed(input)
        rows_TI = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
        full_TI = rounded(rows_TI)
        out_TO: Tensor = _Learned.apply(full_TI, self.weight, self.bias, low) if learning else packed(full_TI)
        if len(full_TI) > len(rows_TI):
            out_TO = out_TO[: len(rows_TI)]
        return out_TO if input.ndim == 2 else out_TO.view(*input.shape[:-1], -1)

    def _plain(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


class _Learned(torch.autograd.Function):
    """A product in half precision whose weights, and their gradients, are in float32."""

    @staticmethod
    def forward(ctx: Any, given_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, low: torch.dtype) -> Tensor:
        rows_TI, lowered_OI = given_TI.to(low), weight_OI.to(low)
        ctx.save_for_backward(rows_TI if ctx.needs_input_grad[1] else None, lowered_OI)
        ctx.types = given_TI.dtype, weight_OI.dtype, None if bias_O is None else bias_O.dtype
        with torch.autocast("cpu", enabled=False):
            return F.linear(rows_TI, lowered_OI, None if bias_O is None else bias_O.to(low))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows_TI, lowered_OI = ctx.saved_tensors
        given_type, weight_type, bias_type = ctx.types
        gradient_TO = gradients[0]
        wants_given, wants_weight, wants_bias, _ = ctx.needs_input_grad
        given = (gradient_TO @ lowered_OI).to(given_type) if wants_given else None
        weight = _weight_gradient(gradient_TO, rows_TI).to(weight_type) if wants_weight else None
        bias = gradient_TO.sum(dim=0).to(bias_type) if wants_bias else None
        return given, weight, bias, None


def _weight_gradient(gradient_TO: Tensor, rows_TI: Tensor) -> Tensor:
    """[O, I]. The kernels are up to three times faster where the sum over T runs along memory in one operand, and
    turning the smaller one costs less than that; the larger one is turned as a result."""
    if gradient_TO.shape[1] <= rows_TI.shape[1]:
        return gradient_TO.T.contiguous() @ rows_TI
    if len(rows_TI) >= LONG:
        return (rows_TI.T.contiguous() @ gradient_TO).T.contiguous()
    return gradient_TO.T @ rows_TI
