"""ScalarMix: a learned mixture of layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from braid.config.families import EncoderConfig
from braid.data.groups import make_batch
from braid.model.network import BraidModel
from braid.nn.scalar_mix import ScalarMix


def test_it_starts_as_the_mean_and_follows_its_weights() -> None:
    layers = [torch.full((3, 2), float(k)) for k in range(4)]
    mix = ScalarMix(4)
    torch.testing.assert_close(mix(layers), torch.full((3, 2), 1.5))
    with torch.no_grad():
        mix.weight_L[3] = 50.0
        mix.scale.fill_(2.0)
    torch.testing.assert_close(mix(layers), torch.full((3, 2), 6.0))


@pytest.mark.parametrize("encoder", [{"type": "bert"}, *EncoderConfig.lookup("hf").contract_variants()])  # type: ignore[attr-defined]
def test_a_head_with_mixed_layers_reads_all_of_them(encoder: dict[str, Any]) -> None:
    torch.manual_seed(0)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens("classification")]
    specs = tiny.specs_of({"t": tiny.task_of("classification", mix_layers=True)}, {"t": examples})
    tokenizer = tiny.tokenizer_of(examples)
    built = (
        tiny.encoder_of(tokenizer)
        if encoder.get("type") == "bert"
        else EncoderConfig.lookup("hf")
        .model_validate({"type": "hf", **encoder})
        .build(  # type: ignore[attr-defined]
            vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id
        )
    )
    model = BraidModel(built, specs)
    group = tiny.group_of(specs, examples, tokenizer)
    model(make_batch([group], [(0, row) for row in group.rows]))["t"].sum().backward()
    mix = model.head("t").mix
    assert mix is not None
    assert mix.weight_L.grad is not None
    assert (mix.weight_L.grad != 0).all()
    assert "mix.weight_L" in model.head("t").state_dict()
