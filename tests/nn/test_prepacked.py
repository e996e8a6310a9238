"""Weights laid out once give what weights cast in every call give, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from braid.nn.prepacked import prepack


def module() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 32, bias=False))


@pytest.mark.parametrize("shape", [(1, 64), (37, 64), (640, 64), (3, 5, 64)])
def test_the_results_are_those_of_autocast(shape: tuple[int, ...]) -> None:
    plain, packed = module(), module()
    prepack(packed, torch.bfloat16)
    given = torch.randn(shape)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted, found = plain(given), packed(given)
    assert found.dtype == torch.bfloat16
    assert found.shape == wanted.shape
    # Sums of products in fp32, rounded once: kernels differ by the order of the sum at most.
    assert torch.allclose(found.float(), wanted.float(), atol=2e-2, rtol=1e-2)
    assert float((found != wanted).float().mean()) < 0.05


def test_nothing_else_changes() -> None:
    plain, packed = module(), module()
    prepack(packed, torch.bfloat16)
    given = torch.randn(7, 64)
    assert torch.equal(packed(given), plain(given))  # fp32
    with torch.autocast("cpu", torch.bfloat16):  # with gradients
        packed(given).float().sum().backward()
        plain(given).float().sum().backward()
    for ours, theirs in zip(packed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert packed.state_dict().keys() == plain.state_dict().keys()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert packed(torch.zeros(0, 64)).shape == (0, 32)
