"""Cross-entropy over a whole vocabulary without keeping its logits.

Shape legend: N tokens to predict, C tokens of a chunk of them, V tokens of the vocabulary, M size of their vectors.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from braid.nn.linear import rounded
from braid.nn.losses import soft_loss

LOGITS = 2**24
"""Logits (64 MB in fp32) that exist at a time."""


def linear_cross_entropy(
    hidden_NM: Tensor, weight_VM: Tensor, bias_V: Tensor | None, labels_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy [N] of `hidden @ weight.T + bias` with the labels, in nats, and whether [N] the label has the
    highest logit. The gradient is computed chunk by chunk in the forward pass, so that neither logits nor their
    gradient are ever held whole (as in Wijmans et al. 2024, arXiv 2411.09009).

    Every element of the cross-entropy must be used with the same weight, as in a sum or a mean."""
    nll_N, correct_N = _LinearCrossEntropy.apply(hidden_NM, weight_VM, bias_V, labels_N)
    return nll_N, correct_N


def linear_soft_loss(
    hidden_NM: Tensor,
    weight_VM: Tensor,
    bias_V: Tensor | None,
    teacher_NV: Tensor,
    *,
    kind: Literal["kl", "mse"],
    temperature: float,
) -> Tensor:
    """`soft_loss` [N] of `hidden @ weight.T + bias` and a teacher's logits; ours are computed chunk by chunk, and anew
    for the gradient."""

    def of(hidden_CM: Tensor, weight_VM: Tensor, bias_V: Tensor | None, teacher_CV: Tensor) -> Tensor:
        logits_CV = F.linear(hidden_CM, weight_VM).float()
        return soft_loss(
            logits_CV if bias_V is None else logits_CV + bias_V, teacher_CV, kind=kind, temperature=temperature
        )

    size = max(1, LOGITS // len(weight_VM))
    parts = [
        checkpoint(of, hidden_CM, weight_VM, bias_V, teacher_CV, use_reentrant=False, preserve_rng_state=False)
        for hidden_CM, teacher_CV in zip(hidden_NM.split(size), teacher_NV.split(size), strict=True)
    ]
    return torch.cat(parts)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NM: Tensor, weight_VM: Tensor, bias_V: Tensor | None, labels_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight, wants_bias, _ = ctx.needs_input_grad
        kind = hidden_NM.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        weight = weight_VM.detach().to(low)
        nll_N = torch.empty(len(labels_N), dtype=torch.float32, device=hidden_NM.device)
        correct_N = torch.empty(len(labels_N), dtype=torch.bool, device=hidden_NM.device)
        grad_hidden = torch.empty_like(hidden_NM) if wants_hidden else None
        grad_weight: Tensor | None = None
        grad_bias = torch.zeros_like(bias_V, dtype=torch.float32) if wants_bias and bias_V is not None else None
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(labels_N), max(1, LOGITS // len(weight))):
                part = slice(start, start + max(1, LOGITS // len(weight)))
                hidden_CM, labels_C = rounded(hidden_NM[part].detach().to(low)), labels_N[part]
                predicted = len(labels_C)
                logits_CV = (hidden_CM @ weight.T)[:predicted].float()
                if bias_V is not None:
                    logits_CV += bias_V.detach()
                own_C1 = logits_CV.gather(1, labels_C[:, None])
                highest_C1 = logits_CV.amax(dim=1, keepdim=True)
                correct_N[part] = (own_C1 >= highest_C1).squeeze(1)
                # From here on: probabilities, and then the gradient of the logits, in the same memory.
                power_CV = logits_CV.sub_(highest_C1).exp_()
                total_C1 = power_CV.sum(dim=1, keepdim=True)
                nll_N[part] = (total_C1.log() + highest_C1 - own_C1).squeeze(1)
                if not (wants_hidden or wants_weight or grad_bias is not None):
                    continue
                grad_CV = power_CV.div_(total_C1)
                grad_CV.scatter_add_(1, labels_C[:, None], torch.full_like(own_C1, -1.0))
                if grad_bias is not None:
                    grad_bias += grad_CV.sum(dim=0)
                grad_low_CV = F.pad(grad_CV.to(low), (0, 0, 0, len(hidden_CM) - predicted))
                if grad_hidden is not None:
                    grad_hidden[part] = (grad_low_CV @ weight)[:predicted].to(grad_hidden.dtype)
                if wants_weight:
                    # The first chunk's, most often the only one's, is the sum so far: zeros of that size cost as much.
                    part_VM = grad_low_CV.T @ hidden_CM
                    grad_weight = part_VM.float() if grad_weight is None else grad_weight.add_(part_VM)
        if wants_weight and grad_weight is None:
            grad_weight = torch.zeros_like(weight_VM, dtype=torch.float32)
        # Held here alone, a gradient of this size can be added to and kept where it is.
        ctx.found = grad_hidden, grad_weight, grad_bias
        ctx.dtypes = weight_VM.dtype, None if bias_V is None else bias_V.dtype
        ctx.mark_non_differentiable(correct_N)
        return nll_N, correct_N

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        grad_N = gradients[0]
        hidden, weight, bias = ctx.found
        if not _graph_is_kept():
            ctx.found = None
        if len(grad_N) == 0:
            return hidden, weight, bias, None
        scale = grad_N[0]
        assert bool((grad_N == scale).all()), "every token of a vocabulary's cross-entropy must have the same weight"
        weight_type, bias_type = ctx.dtypes
        if weight is not None:
            # In the same memory where nobody comes here again, which saves a copy of a table.
            weight = weight * scale if ctx.found is not None else weight.mul_(scale)
        return (
            None if hidden is None else hidden * scale.to(hidden.dtype),
            None if weight is None else weight.to(weight_type),
            None if bias is None else (bias * scale).to(bias_type),
            None,
        )


def _graph_is_kept() -> bool:
    """Whether this backward pass may not be the last one through here."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())
