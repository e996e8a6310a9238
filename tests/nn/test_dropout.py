"""Dropout: torch's own in all but which values it takes."""

from __future__ import annotations

import pytest
import torch

from braid.nn.dropout import Dropout, dropped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_the_rate_is_met_and_the_mean_stays(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    found = dropped(torch.ones(1000, 1001, dtype=dtype), rate)
    assert found.dtype == dtype
    share = float((found == 0).double().mean())
    assert share == pytest.approx(rate, abs=5 * (rate * (1 - rate) / found.numel()) ** 0.5)
    kept = found[found != 0]
    assert torch.allclose(
        kept.double(), torch.tensor(1 / (1 - rate), dtype=torch.double), rtol=1e-3 if dtype == torch.float32 else 1e-2
    )
    # Neither rows nor columns have a pattern of their own.
    for dimension in (0, 1):
        shares = (found == 0).double().mean(dimension)
        assert float((shares - rate).abs().max()) < 6 * (rate * (1 - rate) / 1000) ** 0.5


def test_torchs_generator_decides() -> None:
    values = torch.randn(64, 33)
    torch.manual_seed(5)
    first, second = dropped(values, 0.3), dropped(values, 0.3)
    torch.manual_seed(5)
    assert torch.equal(dropped(values, 0.3), first)
    assert torch.equal(dropped(values, 0.3), second)
    assert not torch.equal(first, second)


def test_gradients_go_where_values_went() -> None:
    values = torch.randn(40, 50, requires_grad=True)
    found = dropped(values, 0.2)
    found.sum().backward()
    assert torch.allclose(values.grad * values.detach(), found.detach())


def test_the_edges() -> None:
    values = torch.randn(4, 5)
    assert torch.equal(dropped(values, 0.0), values)
    assert torch.equal(dropped(values, 1.0), torch.zeros(4, 5))
    assert dropped(torch.zeros(0, 5), 0.5).shape == (0, 5)
    module = Dropout(0.5)
    assert torch.equal(module.eval()(values), values)
    assert not torch.equal(module.train()(values), values)
