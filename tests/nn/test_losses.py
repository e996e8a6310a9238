"""Losses over classes: against torch's own, and what makes each of them special."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from braid.nn.losses import IGNORED, binary_loss, class_loss, soft_binary_loss, soft_loss


@pytest.fixture
def logits() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 4) * 3


def test_cross_entropy_is_torchs_and_ignored_rows_add_nothing(logits: torch.Tensor) -> None:
    classes = torch.tensor([0, 1, IGNORED, 3, 2, IGNORED])
    loss = class_loss(logits, classes)
    torch.testing.assert_close(loss.sum(), F.cross_entropy(logits, classes, reduction="sum"))
    assert loss[[2, 5]].tolist() == [0.0, 0.0]


def test_focal_loss_is_cross_entropy_times_how_wrong_it_is(logits: torch.Tensor) -> None:
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    right = logits.softmax(1).gather(1, classes[:, None]).squeeze(1)
    torch.testing.assert_close(class_loss(logits, classes, kind="focal", gamma=2.0), (1 - right) ** 2 * -right.log())
    torch.testing.assert_close(class_loss(logits, classes, kind="focal", gamma=0.0), class_loss(logits, classes))
    sure = torch.tensor([[100.0, 0, 0, 0]], requires_grad=True)
    class_loss(sure, torch.tensor([0]), kind="focal", gamma=0.5).sum().backward()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


def test_binary_losses(logits: torch.Tensor) -> None:
    marks = (torch.rand(6, 4) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(logits, marks, reduction="none").mean(1)
    torch.testing.assert_close(binary_loss(logits, marks), expected)
    torch.testing.assert_close(binary_loss(logits, marks, kind="focal", gamma=0.0), expected)
    assert (binary_loss(logits, marks, kind="focal") < expected).all()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_soft_loss_is_the_divergence_from_the_teacher(logits: torch.Tensor, temperature: float) -> None:
    teacher = torch.randn(6, 4)
    p, q = (teacher / temperature).softmax(1), (logits / temperature).softmax(1)
    expected = (p * (p / q).log()).sum(1) * temperature**2
    torch.testing.assert_close(soft_loss(logits, teacher, temperature=temperature), expected)
    torch.testing.assert_close(
        soft_loss(teacher + 7, teacher, temperature=temperature), torch.zeros(6), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(soft_loss(teacher + 7, teacher, kind="mse"), torch.zeros(6), atol=1e-5, rtol=0)
    assert (soft_binary_loss(logits, teacher, temperature=temperature) >= 0).all()
    torch.testing.assert_close(soft_binary_loss(teacher, teacher), torch.zeros(6), atol=1e-6, rtol=0)
