"""What no head reads is left out of the last layer, and nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from braid.data.packing import pack_ids
from braid.encoders.bert import Bert
from braid.encoders.modernbert import ModernBert
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.classification import Classification
from braid.tasks.tagging import Tagging

SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 3, "heads": 4, "intermediate_size": 48, "max_length": 40}
ENCODERS = [
    Bert(type="bert", **SIZES),
    Bert(type="bert", norm="pre", **SIZES),
    Bert(type="bert", positions="rotary", feed_forward="gated", **SIZES),
    Bert(type="bert", positions="relative", **SIZES),
    Bert(type="bert", share_layers=True, **SIZES),
    ModernBert(type="modernbert", **SIZES),
]
LENGTHS = [5, 9, 30, 31, 7, 40]


def batch_of() -> Any:
    draw = torch.Generator().manual_seed(1)
    return pack_ids([torch.randint(5, 90, (n,), generator=draw).tolist() for n in LENGTHS])


@pytest.mark.parametrize("variant", ENCODERS, ids=lambda variant: f"{variant.type}")
def test_states_and_gradients_of_what_is_read_stay(variant: Any) -> None:
    torch.manual_seed(1)
    encoder = variant.build(vocab_size=90, pad_id=0).eval()
    assert encoder.leaves_out
    batch = batch_of()
    read = torch.tensor([0, 3, 17, 60, 61, 119])
    weight = torch.randn(len(read), 32)

    def gradients(*more: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        encoder.zero_grad()
        last, layers = encoder(batch, *more)
        assert torch.equal(layers[-1], last)
        (last[read] * weight).sum().backward()
        return last.detach(), {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}

    whole, wanted = gradients()
    part, found = gradients(read)
    torch.testing.assert_close(part[read], whole[read], atol=1e-6, rtol=1e-5)
    others = torch.ones(batch.n_tokens, dtype=torch.bool)
    others[read] = False
    assert not part[others].any()
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-4, msg=name)


def test_the_model_asks_for_what_its_heads_read(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    encoder = ENCODERS[0].build(vocab_size=90, pad_id=0)
    facts = {"labels": ["a", "b"]}
    first = TaskSpec(Classification(), facts)
    mean = TaskSpec(Classification(pooling="mean"), facts)
    mixed = TaskSpec(Classification(mix_layers=True), facts)
    tags = TaskSpec(Tagging(), {"labels": ["O", "B-X", "I-X"], "scheme": "BIO"})
    model = BraidModel(encoder, {"first": first, "mean": mean, "mixed": mixed, "tags": tags}).eval()
    batch = replace(batch_of(), words=torch.tensor([1, 2]), cu_words=torch.tensor([0, 2, 2, 2, 2, 2, 2]))
    asked: list[Any] = []
    monkeypatch.setattr(
        encoder, "forward", lambda batch, *more: asked.append(more) or type(encoder).forward(encoder, batch)
    )
    rows = torch.tensor([1, 4])
    with torch.no_grad():
        for tasks in (["first"], ["first", "mean"], ["mixed"], ["first", "tags"]):
            model(batch, dict.fromkeys(tasks, rows))
    assert [[one.tolist() for one in more] for more in asked] == [[[5, 75]], [], [], []]


def test_logits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    encoder = ENCODERS[0].build(vocab_size=90, pad_id=0)
    model = BraidModel(encoder, {"first": TaskSpec(Classification(), {"labels": ["a", "b"]})}).eval()
    batch, rows = batch_of(), {"first": torch.arange(len(LENGTHS))}
    with torch.no_grad():
        part = model(batch, rows)["first"]
        monkeypatch.setattr(type(encoder), "leaves_out", False)
        whole = model(batch, rows)["first"]
    torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)
