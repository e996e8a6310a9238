"""EMA and mixout: weights that are others than those that are trained."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from braid.model.network import BraidModel
from braid.training.regularised import Regularised
from braid.training.regularisers.ema import Ema
from braid.training.regularisers.mixout import Mixout
from training.regularisers.test_dropout import setup
from training.test_exactness import mixed_data, trainer_of, weights


def moved(model: BraidModel, regularised: Regularised, values: list[float]) -> torch.Tensor:
    """A bias set to values, one a step; its average."""
    bias = model.head("t").classifier.bias
    for value in values:
        with torch.no_grad():
            bias.fill_(value)
        regularised.stepped()
    with regularised.evaluated():
        return bias.detach().clone()


def test_ema_is_the_exponential_average() -> None:
    model, _ = setup()
    with torch.no_grad():
        model.head("t").classifier.bias.zero_()
    found = moved(model, Regularised(model, [Ema(decay=0.5, warmup=False)]), [8.0, 4.0, 2.0])
    assert found.tolist() == [0.125 * 8 + 0.25 * 4 + 0.5 * 2] * 2
    assert model.head("t").classifier.bias.tolist() == [2.0, 2.0], "training goes on with the weights"


def test_ema_forgets_its_beginning_sooner_while_it_warms_up() -> None:
    model, _ = setup()
    with torch.no_grad():
        model.head("t").classifier.bias.zero_()
    found = moved(model, Regularised(model, [Ema(decay=0.99)]), [1.0, 3.0])
    after_one = 0.9 * 1.0
    assert found.tolist() == pytest.approx([2 / 11 * after_one + 9 / 11 * 3.0] * 2)


@pytest.fixture(scope="module")
def mixed() -> Any:
    return mixed_data()


def test_what_is_evaluated_and_saved_is_the_average(mixed: Any, tmp_path: Path) -> None:
    """The average of the weights that a plain run goes through, computed beside it."""
    plain = trainer_of(mixed, tmp_path / "a", max_steps=6, eval_every=6)
    average = weights(plain)
    step = plain.optimizer.step

    def watched() -> None:
        step()
        for name, tensor in plain.model.state_dict().items():
            average[name] = 0.8 * average[name] + 0.2 * tensor

    plain.optimizer.step = watched  # type: ignore[method-assign,assignment]
    plain.train()
    ema = {"type": "ema", "decay": 0.8, "warmup": False}
    other = trainer_of(mixed, tmp_path / "b", max_steps=6, eval_every=6, save_every=4, regularisers=[ema])
    result = other.train()
    for name, tensor in weights(other).items():
        torch.testing.assert_close(tensor, average[name], atol=1e-6, rtol=1e-5)
    best = load_file(tmp_path / "b" / "state" / "best" / "weights.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights(other).items())
    assert result.history != plain.history
    assert (tmp_path / "b" / "state" / "step-4" / "regularisers.safetensors").is_file()
    assert not (tmp_path / "a" / "state" / "step-4" / "regularisers.safetensors").exists()


def test_mixout_mixes_in_the_first_weights_and_keeps_the_mean() -> None:
    """w' is u with probability p, else (w - p u) / (1 - p)."""
    model, _ = setup()
    layer = next(m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear))
    Regularised(model, [Mixout(p=0.25)])
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
        layer.bias.fill_(2.0)
    given = torch.eye(layer.in_features)
    draws = torch.stack([(layer(given) - 2.0).T.detach() - before for _ in range(200)])
    share = (draws.abs() < 1e-5).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(draws[draws.abs() >= 1e-5].unique().mean().item(), 1 / 0.75, atol=1e-3, rtol=0)
    assert draws.mean().item() == pytest.approx(1.0, abs=0.01)


def test_mixouts_gradient_reaches_the_trained_weights_alone() -> None:
    model, _ = setup()
    layer = next(m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear))
    Regularised(model, [Mixout(p=0.5)])
    layer(torch.ones(1, layer.in_features)).sum().backward()
    assert layer.weight.grad is not None
    assert set(layer.weight.grad.unique().tolist()) == {0.0, 2.0}, "0 where it was mixed in, else 1 / (1 - p)"


def test_mixout_is_for_the_encoder_while_it_trains() -> None:
    model, batch = setup(dropout=0.0, encoder=0.0)
    plain = model.losses(batch, nullcontext())["t"].item()
    regularised = Regularised(model, [Mixout(p=0.5)])
    assert model.losses(batch, nullcontext())["t"].item() == pytest.approx(plain, rel=1e-5), "nothing has moved yet"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    mixed = {model.losses(batch, nullcontext())["t"].item() for _ in range(3)}
    assert len(mixed) == 3
    model.eval()
    evaluated = {model.losses(batch, nullcontext())["t"].item() for _ in range(3)}
    model.train()
    regularised.finish()
    assert evaluated == {model.losses(batch, nullcontext())["t"].item()}
    assert not any("forward" in vars(module) for module in model.modules())
