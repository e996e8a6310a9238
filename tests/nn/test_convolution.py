"""Convolutions over packed rows against torch's own, row by row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from braid.data.packing import pack_ids
from braid.nn.convolution import Convolution, Neighbours


def conv1d(convolution: Convolution, hidden_TD: Tensor, width: int, before: int) -> Tensor:
    """torch's convolution over one row that has `before` zeros at its left."""
    weight = convolution.kernel.weight.view(-1, width, hidden_TD.shape[1]).permute(0, 2, 1)
    padded = F.pad(hidden_TD.T[None], (before, width - 1 - before))
    return F.conv1d(padded, weight, convolution.kernel.bias)[0].T


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), width=st.integers(1, 6), causal=st.booleans())
def test_each_row_is_convolved_as_if_it_were_alone(lengths: list[int], width: int, causal: bool) -> None:
    torch.manual_seed(0)
    batch = pack_ids([[5] * length for length in lengths])
    convolution, hidden_TD = Convolution(4, 3, width), torch.randn(batch.n_tokens, 4)
    with torch.no_grad():
        found = convolution(hidden_TD, Neighbours(batch, width, causal=causal))
        before = width - 1 if causal else width // 2
        for span in batch:
            expected = conv1d(convolution, hidden_TD[span], width, before)
            torch.testing.assert_close(found[span], expected, atol=1e-5, rtol=1e-5)


def test_neighbours_beyond_the_row_are_zero() -> None:
    batch = pack_ids([[5, 6], [7]])
    hidden_TD = torch.tensor([[1.0], [2.0], [3.0]])
    around = Neighbours(batch, 3, causal=False).gather(hidden_TD)
    assert around.tolist() == [[0, 1, 2], [1, 2, 0], [0, 3, 0]]
    behind = Neighbours(batch, 3, causal=True).gather(hidden_TD)
    assert behind.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 3]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_even_a_broken_row_reaches_another(bad: float) -> None:
    batch, convolution = pack_ids([[5, 6], [7, 8]]), Convolution(2, 2, 3)
    hidden_TD = torch.ones(4, 2)
    hidden_TD[2:] = bad
    found = convolution(hidden_TD, Neighbours(batch, 3, causal=False))
    assert torch.isfinite(found[:2]).all()


@torch.no_grad()
def test_fresh_kernels_keep_the_size_of_what_comes_in() -> None:
    torch.manual_seed(0)
    batch = pack_ids([[5] * 200])
    hidden_TD = torch.randn(200, 64)
    found = Convolution(64, 64, 3)(hidden_TD, Neighbours(batch, 3, causal=False))
    assert 0.8 < float(found[1:-1].std()) < 1.2
