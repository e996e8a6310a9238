"""FGM, PGD and SMART do what their papers say, on a model whose losses can be worked out by hand.

Shape legend: T tokens, M size of word vectors, R rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.data.packing import pack_ids
from braid.model.network import Pass
from braid.nn.divergence import class_divergence
from braid.training.attack import directions, kept_within, sizes
from braid.training.regularised import Regularised
from braid.training.regularisers.fgm import Fgm
from braid.training.regularisers.pgd import Pgd
from braid.training.regularisers.smart import Smart

ROWS = [[1, 2], [3, 4, 5]]
LABELS = torch.tensor([0, 1])


class Toy(nn.Module):
    """Logits [R, 2] of a row are a small network of the sum of its word vectors. No dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word = nn.Embedding(6, 3)
        self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 2)
        self.encoder = SimpleNamespace(shifted=self.shifted, word_embeddings=self.word.weight)
        self.shift: Tensor | None = None
        self.passes = 0

    @contextmanager
    def shifted(self, shift: Tensor) -> Any:
        self.shift = shift
        yield
        self.shift = None

    def head(self, name: str) -> Any:
        return SimpleNamespace(divergence=lambda first, second, targets: class_divergence(first, second).sum())

    def logits(self, batch: Any, shift: Tensor | None) -> Tensor:
        vectors_TM = self.word(batch.ids) if shift is None else self.word(batch.ids) + shift
        sums = torch.stack([vectors_TM[row].sum(dim=0) for row in batch])
        return self.out(torch.tanh(self.hidden(sums)))

    def passed(self, batch: Any, scope: Any, present: Iterable[str] = ()) -> Pass:
        self.passes += 1
        logits = self.logits(batch, self.shift)
        loss = F.cross_entropy(logits, LABELS, reduction="sum")
        return Pass({"t": loss}, {"t": logits}, None)  # type: ignore[arg-type]


@pytest.fixture
def toy() -> Toy:
    return Toy()


def batch_of() -> Any:
    batch = pack_ids(ROWS)
    batch.targets["t"] = None  # type: ignore[assignment]
    return batch


def objective(toy: Toy, config: Any) -> tuple[Any, Regularised]:
    regularised = Regularised(toy, [config])  # type: ignore[arg-type]
    regularised.scales = {"t": 0.125}
    return regularised.objective, regularised


def row_gradients(toy: Toy, batch: Any, shift: Tensor) -> Tensor:
    """By torch, independent of how regularisers ask for it."""
    shift = shift.clone().requires_grad_()
    F.cross_entropy(toy.logits(batch, shift), LABELS, reduction="sum").backward()
    assert shift.grad is not None
    found = shift.grad
    toy.zero_grad()
    return found


def test_sizes_and_directions_are_of_rows() -> None:
    batch = pack_ids([[1, 2], [3]])
    change = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    assert sizes(change, batch, "l2").tolist() == [5.0, 0.0]
    assert sizes(change, batch, "inf").tolist() == [4.0, 0.0]
    assert directions(change, batch, "l2").flatten().tolist() == pytest.approx([0.6, 0, 0, 0.8, 0, 0])
    assert directions(change, batch, "inf").flatten().tolist() == [0.75, 0, 0, 1, 0, 0]
    assert sizes(change * 1e-30, batch, "l2").tolist() == pytest.approx([5e-30, 0.0])


def test_what_is_not_finite_moves_nothing() -> None:
    batch = pack_ids([[1], [2]])
    change = torch.tensor([[float("nan"), 1.0], [0.0, 2.0]])
    assert directions(change, batch, "l2").tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_changes_are_kept_within_a_ball_of_each_row() -> None:
    batch = pack_ids([[1, 2], [3]])
    change = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.3, 0.4]])
    found = kept_within(change, batch, "l2", 1.0)
    assert found.flatten().tolist() == pytest.approx([0.6, 0, 0, 0.8, 0.3, 0.4])
    assert kept_within(change, batch, "inf", 0.35).flatten().tolist() == pytest.approx([0.35, 0, 0, 0.35, 0.3, 0.35])


def test_fgm_is_the_loss_at_epsilon_along_each_rows_gradient(toy: Toy) -> None:
    batch = batch_of()
    gradient = row_gradients(toy, batch, torch.zeros(5, 3))
    change = torch.cat([0.7 * part / part.norm() for part in (gradient[:2], gradient[2:])])
    here, there = (F.cross_entropy(toy.logits(batch, s), LABELS, reduction="sum").item() for s in (None, change))
    loss, _ = objective(toy, Fgm(epsilon=0.7, weight=0.5))
    found = loss(toy, batch, nullcontext(), ())["t"]
    assert found.item() == pytest.approx(here + 0.5 * there, rel=1e-6)


def test_the_attack_leaves_no_gradient_in_the_weights_and_is_a_constant_to_them(toy: Toy) -> None:
    batch = batch_of()
    loss, _ = objective(toy, Fgm(epsilon=0.7))
    found = loss(toy, batch, nullcontext(), ())["t"]
    assert all(parameter.grad is None for parameter in toy.parameters())
    gradient = row_gradients(toy, batch, torch.zeros(5, 3))
    change = torch.cat([0.7 * part / part.norm() for part in (gradient[:2], gradient[2:])])
    found.backward()
    grads = [parameter.grad.clone() for parameter in toy.parameters() if parameter.grad is not None]
    toy.zero_grad()
    for shift in (None, change):
        F.cross_entropy(toy.logits(batch, shift), LABELS, reduction="sum").backward()
    for one, parameter in zip(grads, toy.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


def test_pgd_projects_after_every_step(toy: Toy) -> None:
    batch, change = batch_of(), torch.zeros(5, 3)
    for _ in range(4):
        gradient, parts = row_gradients(toy, batch, change), []
        for row in batch:
            moved = change[row] + 0.4 * gradient[row] / gradient[row].norm()
            parts.append(moved * min(1.0, 1.0 / float(moved.norm())))
        change = torch.cat(parts)
    expected = sum(F.cross_entropy(toy.logits(batch, s), LABELS, reduction="sum").item() for s in (None, change))
    loss, _ = objective(toy, Pgd(epsilon=1.0, step_size=0.4, steps=4))
    assert loss(toy, batch, nullcontext(), ())["t"].item() == pytest.approx(expected, rel=1e-5)
    assert sizes(change, batch, "l2").tolist() == pytest.approx([1.0, 1.0])
    assert toy.passes == 1 + 3 + 1


def test_one_step_of_pgd_is_fgm(toy: Toy) -> None:
    values = [
        objective(toy, config)[0](toy, batch_of(), nullcontext(), ())["t"].item()
        for config in (Fgm(epsilon=0.5), Pgd(epsilon=0.5, step_size=0.5, steps=1))
    ]
    assert values[0] == values[1]


def test_an_attack_makes_the_loss_greater_and_more_steps_more_so(toy: Toy) -> None:
    plain = F.cross_entropy(toy.logits(batch_of(), None), LABELS, reduction="sum").item()
    attacked = [
        objective(toy, Pgd(epsilon=2.0, step_size=0.5, steps=k))[0](toy, batch_of(), nullcontext(), ())["t"].item()
        - plain
        for k in (1, 2, 4)
    ]
    assert plain < attacked[0] < attacked[1] < attacked[2]


def test_smart_is_the_divergence_at_the_projected_ascent(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, noise = batch_of(), 0.01 * torch.randn(5, 3)
    config = Smart(weight=3.0, proximal=0.0, epsilon=0.05, step_size=0.08, steps=2)
    loss, regularised = objective(toy, config)
    running = regularised.running["smart"]
    monkeypatch.setattr(running, "start", lambda plain: noise.clone())
    plain = toy.logits(batch, None)
    change = noise.clone()
    for _ in range(2):
        change.requires_grad_()
        p, q = plain.detach().softmax(1), toy.logits(batch, change).softmax(1)
        apart = (p * (p / q).log() + q * (q / p).log()).sum()
        (gradient,) = torch.autograd.grad(apart, [change])
        change = change.detach()
        change = torch.cat([change[row] + 0.08 * gradient[row] / gradient[row].abs().max() for row in batch])
        change = change.clamp(-0.05, 0.05)
    p, q = plain.softmax(1), toy.logits(batch, change).softmax(1)
    expected = F.cross_entropy(plain, LABELS, reduction="sum") + 3.0 * (p * (p / q).log() + q * (q / p).log()).sum()
    assert loss(toy, batch, nullcontext(), ())["t"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_smarts_teacher_is_a_moving_average_and_keeps_the_model_near(toy: Toy) -> None:
    batch = batch_of()
    loss, regularised = objective(toy, Smart(weight=0.0, proximal=2.0, decay=0.75))
    plain = F.cross_entropy(toy.logits(batch, None), LABELS, reduction="sum").item()
    assert loss(toy, batch, nullcontext(), ())["t"].item() == pytest.approx(plain), "it begins as the model is"
    before = toy.out.weight.detach().clone()
    with torch.no_grad():
        toy.out.weight.add_(1.0)
    regularised.stepped()
    teacher = before + 0.25
    torch.testing.assert_close(regularised.running["smart"].state()["out.weight"], teacher)
    here = toy.logits(batch, None)
    there = F.linear(torch.tanh(toy.hidden(torch.stack([toy.word(batch.ids)[r].sum(0) for r in batch]))), teacher)
    there = (there + toy.out.bias).detach()
    expected = F.cross_entropy(here, LABELS, reduction="sum") + 2.0 * class_divergence(here, there).sum()
    found = loss(toy, batch, nullcontext(), ())["t"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    found.backward()
    grads = [parameter.grad.clone() for parameter in toy.parameters() if parameter.grad is not None]
    toy.zero_grad()
    expected.backward()
    for one, parameter in zip(grads, toy.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)
