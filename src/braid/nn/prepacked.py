"""Linear layers of a model that only predicts: their weights are cast once, and laid out once as the CPU's matrix
kernels want them, instead of in every call.

Shape legend: I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.nn.linear import Linear

Apply = Callable[[Tensor], Tensor]


def prepack(module: nn.Module, dtype: torch.dtype) -> None:
    """Let the linear layers of *module*, where autocast asks for *dtype* and no gradient is wanted, use weights that
    are in it already: the same results, sooner. Everywhere else they work as before. The weights must not change any
    more."""
    for linear in module.modules():
        if isinstance(linear, Linear):
            linear.packed = (dtype, _packed(linear, dtype))
        elif type(linear) is nn.Linear:
            linear.forward = _either(linear.forward, _packed(linear, dtype), dtype)  # type: ignore[method-assign,assignment]


def _either(plain: Apply, packed: Apply, dtype: torch.dtype) -> Apply:
    def forward(given: Tensor) -> Tensor:
        kind = given.device.type
        asked = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == dtype
        if asked and not torch.is_grad_enabled() and given.numel():
            return packed(given)
        return plain(given)

    return forward


def _packed(linear: nn.Linear, dtype: torch.dtype) -> Apply:
    weight_OI = linear.weight.detach().to(dtype)
    bias_O = None if linear.bias is None else linear.bias.detach().to(dtype)
    if weight_OI.device.type == "cpu" and _onednn():
        laid_out = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)
        return lambda given: torch.ops.mkldnn._linear_pointwise(given.to(dtype), laid_out, bias_O, "none", [], "")
    return lambda given: F.linear(given.to(dtype), weight_OI, bias_O)


def _onednn() -> bool:
    """Whether this build of torch has the operators with which its own compiler freezes linear layers."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
