"""Attention over packed rows: each row as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from braid.data.batch import Batch
from braid.data.packing import pack_ids
from braid.nn.attention import attend

HEADS, SIZE = 2, 8
LAYOUTS = {
    "equal rows": (6, 6, 6),
    "ascending rows, padded": (5, 6, 6, 7),
    "several blocks": (2, 2, 9, 10, 40),
    "out of order": (9, 2, 10, 3, 9),
    "one token": (1,),
    "longer than chunks": (70, 1, 600, 64, 3),
}
WAYS: dict[str, dict[str, Any]] = {
    "to all": {},
    "to the left": {"causal": True},
    "near": {"window": 6},
    "near, to the left": {"window": 6, "causal": True},
    "near, odd": {"window": 7},
    "itself": {"window": 1},
    "far": {"window": 150},
    "further than any row": {"window": 1000},
}


def packed(lengths: Sequence[int]) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    qkv_T3HE = torch.randn(sum(lengths), 3, HEADS, SIZE, generator=generator)
    return pack_ids([[5] * n for n in lengths]), qkv_T3HE.requires_grad_()


def alone(qkv_T3HE: Tensor, batch: Batch, *, causal: bool = False, window: int | None = None) -> Tensor:
    """Softmax(Q K' / sqrt(E)) V, row by row, written out."""
    out = []
    for span in batch:
        query, key, value = qkv_T3HE[span].permute(1, 2, 0, 3)
        distance = torch.arange(query.shape[1]) - torch.arange(query.shape[1])[:, None]
        seen = (distance.abs() <= (len(qkv_T3HE) if window is None else window // 2)) & ((distance <= 0) | (not causal))
        scores = (query @ key.mT / SIZE**0.5).masked_fill(~seen, -torch.inf)
        out.append((F.softmax(scores, dim=-1) @ value).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_each_row_attends_as_if_alone(lengths: tuple[int, ...], way: dict[str, Any]) -> None:
    batch, qkv = packed(lengths)
    torch.testing.assert_close(attend(qkv, batch, **way), alone(qkv, batch, **way), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_not_learned_from_attends_the_same(lengths: tuple[int, ...], way: dict[str, Any]) -> None:
    batch, qkv = packed(lengths)
    found = attend(qkv.detach(), batch, **way)  # another kernel
    torch.testing.assert_close(found, attend(qkv, batch, **way), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_places_behind_the_last_token_are_zero_and_have_no_gradient(lengths: tuple[int, ...]) -> None:
    batch, qkv = packed(lengths)
    behind = F.pad(qkv.detach(), (0, 0, 0, 0, 0, 0, 0, 5), value=torch.inf).requires_grad_()
    found = attend(behind, batch)
    torch.testing.assert_close(found[: batch.n_tokens], alone(qkv, batch), atol=1e-5, rtol=1e-5)
    assert (found[batch.n_tokens :] == 0).all()
    (gradient,) = torch.autograd.grad(found.square().sum(), behind)
    assert (gradient[batch.n_tokens :] == 0).all()
    assert torch.isfinite(gradient).all()


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.sampled_from(sorted(WAYS)))
@settings(max_examples=40, deadline=None)
def test_blocks_of_few_shapes_change_nothing(lengths: list[int], name: str) -> None:
    batch, qkv = packed(lengths)
    few = pack_ids([[5] * n for n in lengths], few_shapes=True)
    assert all(block.longest % 16 == 0 for block in few.blocks)
    ours, theirs = attend(qkv, few, **WAYS[name]), alone(qkv, batch, **WAYS[name])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(out.square().sum(), qkv)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_gradients_are_those_of_rows_alone(lengths: tuple[int, ...], way: dict[str, Any]) -> None:
    batch, qkv = packed(lengths)
    ours, theirs = (torch.autograd.grad(f(qkv, batch, **way).square().sum(), qkv)[0] for f in (attend, alone))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_a_bias_is_added_to_the_scores(lengths: tuple[int, ...]) -> None:
    """One so negative that only a token itself is left."""
    batch, qkv = packed(lengths)
    bias = []
    for block in batch.blocks:
        itself = torch.where(torch.eye(block.longest, dtype=torch.bool), 0.0, -1e9)[None, None]
        keep = torch.ones(1, block.longest, dtype=torch.bool) if block.keep is None else block.keep
        bias.append(itself.masked_fill(~keep[:, None, None, :], -torch.inf).expand(-1, HEADS, -1, -1))
    torch.testing.assert_close(attend(qkv, batch, bias=bias), qkv[:, 2], atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(attend(qkv, batch, bias=bias).sum(), qkv)
    assert torch.isfinite(gradient).all()


@given(st.lists(st.integers(1, 24), min_size=1, max_size=8), st.sampled_from(sorted(WAYS)))
@settings(max_examples=60, deadline=None)
def test_any_lengths_in_any_order(lengths: list[int], name: str) -> None:
    batch, qkv = packed(lengths)
    torch.testing.assert_close(attend(qkv, batch, **WAYS[name]), alone(qkv, batch, **WAYS[name]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_what_one_row_says_changes_no_other(lengths: tuple[int, ...], way: dict[str, Any]) -> None:
    batch, qkv = packed(lengths)
    first = next(iter(batch))
    (gradient,) = torch.autograd.grad(attend(qkv, batch, **way)[first].square().sum(), qkv)
    assert (gradient[first.stop :] == 0).all()


def test_dropout_changes_weights_but_not_their_mean() -> None:
    torch.manual_seed(0)
    batch, qkv = packed((4, 5))
    qkv = qkv.detach()
    mean = torch.stack([attend(qkv, batch, dropout=0.3) for _ in range(400)]).mean(dim=0)
    torch.testing.assert_close(mean, alone(qkv, batch), atol=0.2, rtol=0.1)
    assert not torch.equal(attend(qkv, batch, dropout=0.3), attend(qkv, batch, dropout=0.3))


def test_dropout_has_the_gradient_of_what_it_left() -> None:
    """Against finite differences, the same weights being dropped each time."""
    batch, qkv = packed((3, 5, 5))

    def dropped(values: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(values, batch, dropout=0.4)

    assert torch.autograd.gradcheck(dropped, qkv.detach().double().requires_grad_())


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_bfloat16_stays_bfloat16(way: dict[str, Any], grad: bool) -> None:
    batch, qkv = packed((5, 6, 6, 7))
    out = attend(qkv.detach().bfloat16().requires_grad_(grad), batch, **way)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), alone(qkv, batch, **way), atol=3e-2, rtol=3e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_the_varlen_kernel_agrees(lengths: tuple[int, ...], way: dict[str, Any]) -> None:
    batch, qkv = packed(lengths)
    half = qkv.detach().to("cuda", torch.bfloat16).requires_grad_()
    out = attend(half, batch.to("cuda"), **way)
    torch.testing.assert_close(out.float().cpu(), alone(qkv, batch, **way), atol=3e-2, rtol=3e-2)
    out.float().square().sum().backward()
    assert torch.isfinite(half.grad).all()
