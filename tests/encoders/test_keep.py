"""An encoder of some of another one's layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from braid.config.families import EncoderConfig
from braid.data.packing import pack_ids
from braid.encoders.base import Encoder, EncoderVariant
from braid.errors import BraidError, RecipeError

SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 4, "heads": 2, "dropout": 0.0}


def encoder_of(kind: str, **options: Any) -> Encoder:
    variant = EncoderConfig.lookup(kind).model_validate({"type": kind, **SIZES, **options})
    assert isinstance(variant, EncoderVariant)
    torch.manual_seed(0)
    return variant.build(vocab_size=50, pad_id=0).eval()


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_transformers_loads_what_is_kept_and_computes_the_same(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    encoder = encoder_of(kind)
    names = {id(layer): number for number, layer in enumerate(encoder.layers, 1)}  # type: ignore[arg-type]
    encoder.keep([1, 4])
    assert [names[id(layer)] for layer in encoder.layers] == [1, 4]  # type: ignore[union-attr]
    assert (encoder.n_layers, encoder.n_states) == (2, 3)
    save_file({name: value.contiguous() for name, value in encoder.hf_state().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(encoder.hf_config()))
    twin = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ours, _ = encoder(pack_ids([[2, 5, 9, 3]]))
        theirs = twin(torch.tensor([[2, 5, 9, 3]])).last_hidden_state[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"type": "modernbert"}, {"type": "bert", "share_layers": True}], ids=str)
def test_layers_that_hang_together_are_not_taken_apart(options: dict[str, Any]) -> None:
    encoder = encoder_of(options.pop("type"), **options)
    with pytest.raises(BraidError, match="cannot be taken out one by one"):
        encoder.keep([1, 2])


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(BraidError, match="there is no layer 7; this encoder has 4"):
        encoder_of("bert").keep([1, 7])


@pytest.mark.parametrize("layers", [[2, 1], [1, 1], [0, 1], []], ids=str)
def test_layers_are_named_once_from_the_lowest_up(layers: list[int]) -> None:
    import braid

    task = {"type": "classification", "data": {"train": "x.tsv"}}
    with pytest.raises(RecipeError, match=r"encoder\.keep_layers"):
        braid.Recipe(encoder={"pretrained": "a/b", "keep_layers": layers}, tasks={"t": task})
