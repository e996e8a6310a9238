"""Linear layers in mixed precision: torch's own results, from few shapes of kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from braid.nn.linear import LONG, Linear, rounded

BF16 = torch.bfloat16


def twins(inputs: int, outputs: int, *, bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(1)
    theirs = nn.Linear(inputs, outputs, bias=bias)
    ours = Linear(inputs, outputs, bias=bias)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def learned(layer: nn.Module, given: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    given = given.clone().requires_grad_()
    with torch.autocast("cpu", BF16):
        out = layer(given)
    assert out.dtype == BF16
    out.backward(gradient.to(BF16))
    return [out.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (64, 64)])
@pytest.mark.parametrize("rows", [1, 16, 37, 600, LONG + 3])
def test_gradients_are_those_of_autocast(rows: int, shape: tuple[int, int], bias: bool, dtype: torch.dtype) -> None:
    ours, theirs = twins(*shape, bias=bias)
    given, gradient = torch.randn(rows, shape[0], dtype=dtype), torch.randn(rows, shape[1])
    for found, wanted in zip(learned(ours, given, gradient), learned(theirs, given, gradient), strict=True):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        # Sums in fp32, rounded to bf16 once: only their order may differ.
        assert torch.allclose(found.float(), wanted.float(), rtol=2e-2, atol=2e-2 * float(wanted.abs().max()))
        assert float((found != wanted).float().mean()) < 0.1


def test_what_is_frozen_gets_no_gradient() -> None:
    layer, _ = twins(8, 4)
    layer.weight.requires_grad_(False)
    given = torch.randn(5, 8, requires_grad=True)
    with torch.autocast("cpu", BF16):
        layer(given).float().sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    assert given.grad is not None


def test_without_autocast_it_is_torchs_layer() -> None:
    ours, theirs = twins(8, 4)
    given = torch.randn(3, 5, 8)
    assert torch.equal(ours(given), theirs(given))


@pytest.mark.parametrize("shape", [(3, 5, 8), (0, 8), (2, 0, 8), (8,)])
@pytest.mark.parametrize("grad", [False, True])
def test_any_shape_goes_in(shape: tuple[int, ...], grad: bool) -> None:
    ours, theirs = twins(8, 4)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", BF16):
        given = torch.randn(shape)
        assert ours(given).shape == theirs(given).shape
        assert torch.allclose(ours(given).float(), theirs(given).float(), atol=2e-2)


LEARNING = [(0, 0), (1, 16), (16, 16), (500, 512), (512, 512), (513, 576)]
PREDICTING = [(0, 0), (1, 16), (16, 16), (113, 128), (129, 160), (257, 320), (512, 512), (513, 640), (1930, 2048)]


@pytest.mark.parametrize(
    ("grad", "rows", "wanted"), [(True, *one) for one in LEARNING] + [(False, *one) for one in PREDICTING]
)
def test_rows_are_rounded_up(grad: bool, rows: int, wanted: int) -> None:
    given = torch.ones(rows, 2)
    with torch.set_grad_enabled(grad):
        found = rounded(given)
    assert len(found) == wanted
    assert torch.equal(found[:rows], given)
    assert (found[rows:] == 0).all()
