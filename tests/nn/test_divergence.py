"""How far two answers are from each other."""

from __future__ import annotations

import pytest
import torch
from scipy.special import softmax
from scipy.stats import bernoulli, entropy

from braid.nn.divergence import binary_divergence, class_divergence, number_divergence, segment_divergence


def test_classes_are_apart_by_both_kl_divergences() -> None:
    first, second = torch.randn(5, 4) * 3, torch.randn(5, 4) * 3
    p, q = softmax(first.double().numpy(), axis=1), softmax(second.double().numpy(), axis=1)
    expected = entropy(p, q, axis=1) + entropy(q, p, axis=1)
    assert class_divergence(first, second).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert class_divergence(first, first).tolist() == [0.0] * 5


def test_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): (1/4) ln 3."""
    first, second = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    assert class_divergence(first, second).item() == pytest.approx(0.25 * torch.tensor(3.0).log().item())
    assert binary_divergence(torch.tensor(3.0).log(), torch.tensor(0.0)).item() == pytest.approx(0.2746531)
    assert number_divergence(torch.tensor([3.0]), torch.tensor([1.0])).item() == 4.0


def test_two_classes_are_one_sigmoid() -> None:
    first, second = torch.randn(6), torch.randn(6)
    zeros = torch.zeros(6)
    pairs = class_divergence(torch.stack([zeros, first], dim=1), torch.stack([zeros, second], dim=1))
    torch.testing.assert_close(binary_divergence(first, second), pairs)
    p, q = (bernoulli(values.sigmoid().item()) for values in (first[0], second[0]))
    by_scipy = entropy([p.pmf(0), p.pmf(1)], [q.pmf(0), q.pmf(1)]) + entropy([q.pmf(0), q.pmf(1)], [p.pmf(0), p.pmf(1)])
    assert binary_divergence(first, second)[0].item() == pytest.approx(by_scipy, rel=1e-4)


def test_segments_of_one_size_are_rows() -> None:
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    order = torch.randperm(12)
    segments = torch.arange(3).repeat_interleave(4)
    found = segment_divergence(first.flatten()[order], second.flatten()[order], segments[order], 3)
    torch.testing.assert_close(found, class_divergence(first, second))


def test_huge_logits_and_gradients_stay_finite() -> None:
    first = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    second = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    class_divergence(first, second).sum().backward()
    for side in (first, second):
        assert side.grad is not None
        assert side.grad.isfinite().all()


@pytest.mark.parametrize("measure", [class_divergence, binary_divergence])
def test_both_sides_have_gradients(measure: object) -> None:
    """In fp64, against differences."""
    from braid.nn import divergence

    sides = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    plain = {"float": torch.Tensor.float}
    torch.Tensor.float = lambda self: self  # type: ignore[method-assign,assignment]
    try:
        assert torch.autograd.gradcheck(getattr(divergence, measure.__name__), sides)  # type: ignore[attr-defined]
    finally:
        torch.Tensor.float = plain["float"]  # type: ignore[method-assign]
