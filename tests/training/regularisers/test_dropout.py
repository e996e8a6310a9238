"""R-Drop and multi-sample dropout: the exact value, from the very masks that were drawn."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

import tiny
from braid.data.groups import make_batch
from braid.model.network import BraidModel
from braid.nn.dropout import Dropout
from braid.training.regularised import Regularised
from braid.training.regularisers.multi_sample_dropout import MultiSampleDropout
from braid.training.regularisers.rdrop import RDrop


def setup(kind: str = "classification", dropout: float = 0.3, encoder: float = 0.2) -> tuple[BraidModel, Any]:
    torch.manual_seed(0)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens(kind)]
    tokenizer = tiny.tokenizer_of(examples)
    specs = tiny.specs_of({"t": tiny.task_of(kind, dropout=dropout)}, {"t": examples})
    model = BraidModel(tiny.encoder_of(tokenizer, dropout=encoder), specs).train()
    group = tiny.group_of(specs, examples, tokenizer)
    return model, make_batch([group], [(0, row) for row in range(8)])


def regularised_loss(model: BraidModel, batch: Any, config: Any) -> torch.Tensor:
    torch.manual_seed(5)
    regularised = Regularised(model, [config])
    regularised.scales = {"t": 0.125}
    return regularised.objective(model, batch, nullcontext(), ())["t"]


def test_rdrop_is_the_mean_loss_and_half_of_both_kl_divergences() -> None:
    model, batch = setup()
    found = regularised_loss(model, batch, RDrop(alpha=4.0))
    torch.manual_seed(5)
    first, second = (model.passed(batch, nullcontext()) for _ in range(2))
    p, q = first.logits["t"].softmax(1), second.logits["t"].softmax(1)
    kl_pq, kl_qp = (p * (p / q).log()).sum(), (q * (q / p).log()).sum()
    assert kl_pq > 0.001, "the masks differ"
    expected = (first.losses["t"] + second.losses["t"]) / 2 + 4.0 * (kl_pq + kl_qp) / 2
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_rdrop_of_numbers_is_the_squared_difference() -> None:
    model, batch = setup("regression")
    found = regularised_loss(model, batch, RDrop(alpha=3.0))
    torch.manual_seed(5)
    first, second = (model.passed(batch, nullcontext()) for _ in range(2))
    apart = (first.logits["t"] - second.logits["t"]).square().sum()
    expected = (first.losses["t"] + second.losses["t"]) / 2 + 3.0 * apart / 2
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_rdrop_without_dropout_is_the_plain_loss() -> None:
    model, batch = setup(dropout=0.0, encoder=0.0)
    plain = model.losses(batch, nullcontext())["t"].item()
    assert regularised_loss(model, batch, RDrop(alpha=9.0)).item() == pytest.approx(plain, rel=1e-6)


def test_multi_sample_dropout_is_the_mean_over_samples_of_the_head() -> None:
    """The encoder runs once: its masks are drawn once."""
    model, batch = setup()
    found = regularised_loss(model, batch, MultiSampleDropout(samples=5))
    torch.manual_seed(5)
    once = model.passed(batch, nullcontext())
    rows = batch.targets["t"].rows
    others = [model.head("t").loss(model.head("t")(once.hidden, rows), batch.targets["t"]) for _ in range(4)]
    losses = [once.losses["t"].item(), *(loss.item() for loss in others)]
    assert max(losses) > min(losses)
    assert found.item() == pytest.approx(sum(losses) / 5, rel=1e-6)


def test_multi_sample_dropout_sets_the_heads_rate_and_no_others() -> None:
    model, _ = setup()
    Regularised(model, [MultiSampleDropout(samples=2, dropout=0.45)])
    rates = {m.p for m in model.head("t").modules() if isinstance(m, Dropout)}
    assert rates == {0.45}
    assert 0.45 not in {m.p for m in model.encoder.modules() if isinstance(m, Dropout)}


def test_more_samples_of_dropout_make_the_loss_less_noisy() -> None:
    model, batch = setup(encoder=0.0)
    spread = {}
    for samples in (1, 8):
        regularised = Regularised(model, [MultiSampleDropout(samples=samples)])
        values = [regularised.objective(model, batch, nullcontext(), ())["t"].detach() for _ in range(60)]
        spread[samples] = torch.stack(values).std().item()
    assert spread[8] == pytest.approx(spread[1] / 8**0.5, rel=0.4)


def test_a_head_without_dropout_is_asked_once() -> None:
    model, _ = setup(dropout=0.0)
    assert not Regularised(model, [MultiSampleDropout()]).running
