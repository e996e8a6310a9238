"""The packed GPT-2 against transformers, and writing on against reading all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from braid.checkpoint.files import save_tensors, write_json
from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from braid.encoders.gpt import Gpt
from braid.errors import BraidError

SIZES: dict[str, Any] = {"vocab_size": 99, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40}
KINDS: dict[str, Any] = {
    "gpt2": SIZES,
    "relu-inner": {**SIZES, "n_inner": 48, "activation_function": "relu", "layer_norm_epsilon": 1e-3},
}
LENGTHS = (5, 17, 9, 9, 1, 30)


def rows() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(4, 99, (n,), generator=generator).tolist() for n in LENGTHS]


@pytest.fixture(scope="module", params=list(KINDS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**KINDS[request.param])).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp(request.param)
    model.transformer.save_pretrained(folder)
    return folder, model


@torch.no_grad()
def check_equal(encoder: Encoder, model: Any) -> None:
    """Every hidden state of every row as transformers' on the row alone."""
    batch = pack_ids(rows())
    last, layers = encoder.eval()(batch)
    assert torch.equal(last, layers[-1])
    for span, ids in zip(batch, rows(), strict=True):
        expected = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for ours, theirs in zip(layers, expected, strict=True):
            torch.testing.assert_close(ours[span], theirs[0], atol=1e-5, rtol=1e-5)


def test_hidden_states_equal_transformers(saved: tuple[Path, Any]) -> None:
    folder, model = saved
    check_equal(Gpt().load(folder), model.transformer)


def test_a_language_model_loads_without_its_head(saved: tuple[Path, Any], tmp_path: Path) -> None:
    _, model = saved
    model.save_pretrained(tmp_path)
    assert "transformer.wte.weight" in load_file(tmp_path / "model.safetensors")
    check_equal(Gpt().load(tmp_path), model)


def test_weights_go_back_bitwise_and_load_in_transformers(saved: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = saved
    encoder = Gpt().load(folder)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    check_equal(encoder, again.eval())


def test_from_scratch_what_layers_add_begins_smaller() -> None:
    encoder = Gpt(shape="tiny", layers=8).build(vocab_size=50, pad_id=0)
    layer = encoder.layers[0]
    assert layer.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.attention_output.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    assert layer.output.weight.std().item() == pytest.approx(0.02 / 16**0.5, rel=0.05)
    assert (encoder.n_layers, encoder.hidden_size, encoder.max_positions, encoder.sees) == (8, 128, 1024, "left")


def test_no_gradient_comes_from_later_tokens_or_other_rows() -> None:
    encoder = Gpt(hidden_size=32, layers=2, heads=2, dropout=0.0).build(vocab_size=50, pad_id=0)
    last, _ = encoder(pack_ids([[5, 6, 7], [8, 9], [10, 11, 12]]))
    last[1].square().sum().backward()
    grads = encoder.word_embeddings.grad.abs().sum(dim=1)
    assert (grads[[5, 6]] > 0).all()
    assert (grads[7:] == 0).all()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(1)
    return Gpt(hidden_size=32, layers=2, heads=2, max_positions=100, init_std=0.2).build(vocab_size=99, pad_id=0).eval()


@torch.no_grad()
def states_of(encoder: Encoder, written: list[list[int]]) -> torch.Tensor:
    return torch.stack([encoder(pack_ids([row]))[0][-1] for row in written])


@pytest.mark.parametrize("lengths", [(4, 4), (1, 7, 3), (20, 1), (5,)])
def test_writing_on_equals_reading_all(encoder: Encoder, lengths: tuple[int, ...]) -> None:
    """Over more tokens than the cache has room for at first."""
    written = [[(5 + 7 * k + n) % 99 for k in range(n)] for n in lengths]
    state = encoder.continuation(pack_ids(written))
    torch.testing.assert_close(state.last, states_of(encoder, written), atol=1e-5, rtol=1e-5)
    for number in range(70):
        ids = [(11 * number + 3 * row) % 99 for row in range(len(written))]
        state.step(torch.tensor(ids))
        for row, token in zip(written, ids, strict=True):
            row.append(token)
        if number % 17 == 0:
            torch.testing.assert_close(state.last, states_of(encoder, written), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state.last, states_of(encoder, written), atol=1e-5, rtol=1e-5)


def test_continuations_are_chosen_repeated_and_dropped(encoder: Encoder) -> None:
    written = [[5, 6, 7, 8], [9], [10, 11]]
    state = encoder.continuation(pack_ids(written))
    for choice in ([2, 0, 0], [1, 2], [1], [0, 0]):
        written = [[*written[k], 20 + place] for place, k in enumerate(choice)]
        state.select(torch.tensor(choice))
        state.step(torch.tensor([row[-1] for row in written]))
        torch.testing.assert_close(state.last, states_of(encoder, written), atol=1e-5, rtol=1e-5)


def test_no_row_outgrows_the_positions(encoder: Encoder) -> None:
    state = encoder.continuation(pack_ids([[5] * 99, [6] * 3]))
    state.step(torch.tensor([7, 7]))
    with pytest.raises(BraidError, match="100 positions"):
        state.step(torch.tensor([7, 7]))
    # The row that is full is let go; the other one has room.
    state.select(torch.tensor([1]))
    torch.testing.assert_close(
        state.step(torch.tensor([8])), states_of(encoder, [[6, 6, 6, 7, 8]]), atol=1e-5, rtol=1e-5
    )
    with pytest.raises(BraidError, match="row of 101 tokens is longer than the encoder's 100 positions"):
        encoder(pack_ids([[5] * 101]))
    with pytest.raises(BraidError, match="row of 101 tokens"):
        encoder.continuation(pack_ids([[5] * 101]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layer": 10**9}, "layers"),
        ({"n_layer": 4}, "asks for 4 layers"),
        ({"n_head": 5}, "5 heads do not divide"),
        ({"n_embd": 10**7}, "one matrix would have"),
        ({"n_inner": 50}, r"h.0.mlp.c_fc.weight is \[32, 128\], config.json says \[32, 50\]"),
        ({"n_positions": "many"}, "missing or wrong setting"),
        ({"vocab_size": float("inf")}, "missing or wrong setting"),
        ({"activation_function": "mystery"}, "mystery"),
        ({"scale_attn_by_inverse_layer_idx": True}, "type: hf"),
        ({"add_cross_attention": True}, "type: hf"),
        ({"model_type": "bert"}, "not gpt2"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    transformers.GPT2Model(transformers.GPT2Config(**SIZES)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(BraidError, match=message):
        Gpt().load(tmp_path)


def test_missing_tensors_are_all_named(tmp_path: Path) -> None:
    transformers.GPT2Model(transformers.GPT2Config(**SIZES)).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["wpe.weight"], state["h.1.ln_2.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BraidError, match=r"missing: wpe.weight, h.1.ln_2.bias"):
        Gpt().load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give `pretrained`"),
        ({"shape": "tiny", "heads": 3}, "3 heads do not divide"),
        ({"shape": "tiny", "activation": "mystery"}, "mystery"),
        ({"shape": "tiny", "hidden_size": 2**24}, "one matrix would have"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BraidError, match=message):
        Gpt(**options).build(vocab_size=50, pad_id=0)
