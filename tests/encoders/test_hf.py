"""Encoders that transformers runs: packed in, packed out, equal to the padded model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError

from braid.checkpoint.files import save_tensors, write_json
from braid.data.packing import pack_ids
from braid.encoders.hf import Hf, HfEncoder
from braid.errors import BraidError

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
}
TOKENS = {"vocab_size": 99, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
KINDS: dict[str, dict[str, Any]] = {
    "mpnet": SIZES,
    "deberta-v2": {**SIZES, "type_vocab_size": 2, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {**SIZES, "cls_token_id": 2, "sep_token_id": 3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80},
    "convbert": {**SIZES, "embedding_size": 32},
    "fnet": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "max_position_embeddings": 80},
}
LENGTHS = (7, 8, 8, 7, 9, 3, 10, 30)
"""Close to each other and out of order, so that there are padded blocks and a permutation."""


@pytest.fixture(scope="module", params=list(KINDS))
def encoder(request: pytest.FixtureRequest) -> HfEncoder:
    torch.manual_seed(0)
    built = Hf(config={"model_type": request.param, **TOKENS, **KINDS[request.param]}).build(vocab_size=99, pad_id=1)
    assert isinstance(built, HfEncoder)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.1)
    return built.eval()


def rows() -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(4, 99, (n,), generator=generator).tolist() for n in LENGTHS]
    return ids, [[0] * (n // 2) + [1] * (n - n // 2) for n in LENGTHS]


@torch.no_grad()
def test_every_row_equals_the_model_on_this_row_alone(encoder: HfEncoder) -> None:
    batch = pack_ids(*rows())
    last, layers = encoder(batch)
    assert len(layers) == encoder.n_layers + 1
    for span, ids, types in zip(batch, *rows(), strict=True):
        segments = {"token_type_ids": torch.tensor([types])} if encoder.has_segments else {}
        out = encoder.model(torch.tensor([ids]), output_hidden_states=True, **segments)
        torch.testing.assert_close(last[span], out.last_hidden_state[0], atol=1e-5, rtol=1e-5)
        for ours, theirs in zip(layers, out.hidden_states, strict=True):
            torch.testing.assert_close(ours[span], theirs[0], atol=1e-5, rtol=1e-5)


def test_no_gradient_crosses_rows(encoder: HfEncoder) -> None:
    batch = pack_ids([[5, 6, 7], [8, 9, 10, 11]])
    words = encoder.model.get_input_embeddings().weight
    last, _ = encoder(batch)
    (gradient,) = torch.autograd.grad(last[:3].square().sum(), words)
    assert (gradient[8:12] == 0).all()
    assert (gradient[5:8].abs().sum(dim=1) > 0).all()


def test_what_is_saved_loads_here_and_in_transformers(encoder: HfEncoder, tmp_path: Path) -> None:
    save(encoder, tmp_path)
    model, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    again = Hf().load(tmp_path).eval()
    theirs = model.state_dict()
    for name, tensor in encoder.hf_state().items():
        assert torch.equal(tensor, again.hf_state()[name])
        assert torch.equal(tensor, theirs[name])
    batch = pack_ids(*rows())
    with torch.no_grad():
        torch.testing.assert_close(again(batch)[0], encoder(batch)[0], atol=0, rtol=0)


def test_every_parameter_has_a_depth(encoder: HfEncoder) -> None:
    depths = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert set(depths.values()) == set(range(encoder.n_layers + 1))
    word = next(n for n, p in encoder.named_parameters() if p is encoder.model.get_input_embeddings().weight)
    assert depths[word] == 0


@torch.no_grad()
def test_a_batch_without_blocks_is_laid_out_here(encoder: HfEncoder) -> None:
    batch = pack_ids(*rows())
    bare = replace(batch, blocks=(), restore=None)
    torch.testing.assert_close(encoder(bare)[0], encoder(batch)[0], atol=0, rtol=0)


def test_positions_after_the_padding_leave_less_room() -> None:
    mpnet = Hf(config={"model_type": "mpnet", **SIZES}).build(vocab_size=99, pad_id=1)
    assert mpnet.max_positions == 78


def test_segments_are_given_only_to_models_that_have_them() -> None:
    has = {
        kind: Hf(config={"model_type": kind, **TOKENS, **KINDS[kind]}).build(vocab_size=99, pad_id=1).has_segments
        for kind in ("gpt2", "deberta-v2", "mpnet")
    }
    assert has == {"gpt2": False, "deberta-v2": True, "mpnet": False}


DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": KINDS["gpt2"],
    "llama": SIZES,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
    },
    "bert": {**SIZES, "is_decoder": True},
    "gemma": {**SIZES, "head_dim": 16, "num_key_value_heads": 2},
}
OTHERS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "modernbert": KINDS["modernbert"],
    "fnet": KINDS["fnet"],
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48},
    "gemma": {**DECODERS["gemma"], "use_bidirectional_attention": True},
}


@pytest.mark.parametrize(
    ("kind", "settings", "sees"),
    [(kind, settings, "left") for kind, settings in DECODERS.items()]
    + [(kind, settings, "both") for kind, settings in OTHERS.items()],
)
@torch.no_grad()
def test_a_decoder_sees_the_left_only(kind: str, settings: dict[str, Any], sees: str) -> None:
    torch.manual_seed(0)
    encoder = Hf(config={"model_type": kind, **TOKENS, **settings}).build(vocab_size=99, pad_id=1).eval()
    assert encoder.sees == sees
    first, last = (encoder(pack_ids([row]))[0] for row in ([5, 6, 7, 8, 9], [5, 6, 30, 8, 9]))
    assert ((first - last).abs()[:2] > 1e-6).any() == (sees == "both")


def test_no_row_is_written_beyond_the_positions() -> None:
    encoder = Hf(config={"model_type": "gpt2", **TOKENS, **KINDS["gpt2"]}).build(vocab_size=99, pad_id=1).eval()
    state = encoder.continuation(pack_ids([[5] * 79, [6] * 3]))
    state.step(torch.tensor([7, 7]))
    with pytest.raises(BraidError, match="80 positions"):
        state.step(torch.tensor([7, 7]))


def save(encoder: HfEncoder, folder: Path) -> None:
    save_tensors(folder / "model.safetensors", encoder.hf_state())
    write_json(folder / "config.json", encoder.hf_config())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    encoder = Hf(**Hf.contract_variants()[0]).build(vocab_size=99, pad_id=1)
    assert isinstance(encoder, HfEncoder)
    save(encoder, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**9}, "cannot be meant"),
        ({"hidden_size": 10**9}, "cannot be meant"),
        ({"vocab_size": 10**6}, "no tensor of the weights has that size"),
        ({"num_hidden_layers": 3}, "lack 16 tensors: encoder.layer.2"),
        ({"intermediate_size": 50}, r"is \[48, 32\], config.json says \[50, 32\]"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"model_type": "mystery"}, "mystery"),
        ({"model_type": "t5"}, "decoder"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "brings its own code"),
    ],
)
def test_what_does_not_fit_is_refused(saved: Path, settings: dict[str, Any], message: str) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(BraidError, match=message):
        Hf().load(saved)


def test_damaged_and_pickled_weights_are_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BraidError, match="damaged"):
        Hf().load(saved)
    weights.rename(saved / "pytorch_model.bin")
    with pytest.raises(BraidError, match="can run code"):
        Hf().load(saved)


@pytest.mark.parametrize("config", [None, {}, {"hidden_size": 32}])
def test_from_scratch_needs_a_model_type(config: dict[str, Any] | None) -> None:
    with pytest.raises(BraidError, match="model_type"):
        Hf(config=config).build(vocab_size=99, pad_id=0)


def test_an_unknown_type_and_a_wrong_setting_are_told() -> None:
    with pytest.raises(BraidError, match="mystery"):
        Hf(config={"model_type": "mystery"}).build(vocab_size=99, pad_id=0)
    with pytest.raises(BraidError, match=r"encoder\.config"):
        Hf(config={"model_type": "mpnet", "hidden_size": 33, "num_attention_heads": 2}).build(vocab_size=99, pad_id=0)


def test_pretrained_and_config_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="from scratch"):
        Hf(pretrained="somewhere", config={"model_type": "mpnet"})
