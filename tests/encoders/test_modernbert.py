"""The packed ModernBERT against transformers: same weights, same hidden states, and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from braid.checkpoint.files import save_tensors, write_json
from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from braid.encoders.modernbert import ModernBert
from braid.errors import BraidError

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 700,
    "local_attention": 16,
    **{f"{role}_token_id": number for number, role in enumerate(("pad", "bos", "eos", "cls", "sep"))},
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"
KINDS: dict[str, dict[str, Any]] = {
    "as published": {},
    "as published before": {"global_attn_every_n_layers": 2, "global_rope_theta": 900.0, "local_rope_theta": 70.0},
    "layers named": {
        "layer_types": [LOCAL, LOCAL, GLOBAL, LOCAL],
        "rope_parameters": {
            LOCAL: {"rope_type": "default", "rope_theta": 50.0},
            GLOBAL: {"rope_type": "default", "rope_theta": 2000.0},
        },
        "local_attention": 9,
    },
    "biases": {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "hidden_activation": "silu"},
    "wide window": {"local_attention": 1000},
}
LENGTHS = (5, 17, 9, 1, 30, 9)
LONG = (600, 3, 70)
"""Rows longer than the window; the second batch is long enough to be cut into chunks."""


def rows(lengths: tuple[int, ...]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(5, 99, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(scope="module", params=list(KINDS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(**{**SIZES, **KINDS[request.param]})
    model = transformers.ModernBertModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("modernbert")
    model.save_pretrained(folder)
    return folder, model


@torch.no_grad()
def check_equal(encoder: Encoder, model: Any) -> None:
    """Every hidden state of every row as transformers' on the row alone."""
    for lengths in (LENGTHS, LONG):
        batch = pack_ids(rows(lengths))
        last, layers = encoder.eval()(batch)
        assert torch.equal(last, layers[-1])
        for span, ids in zip(batch, rows(lengths), strict=True):
            out = model(torch.tensor([ids]), output_hidden_states=True)
            torch.testing.assert_close(last[span], out.last_hidden_state[0], atol=1e-5, rtol=1e-5)
            for ours, theirs in zip(layers[:-1], out.hidden_states[:-1], strict=True):
                torch.testing.assert_close(ours[span], theirs[0], atol=1e-5, rtol=1e-5)


def test_hidden_states_equal_transformers(saved: tuple[Path, Any]) -> None:
    folder, model = saved
    check_equal(ModernBert().load(folder), model)


def test_weights_go_back_bitwise_and_load_in_transformers(saved: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = saved
    encoder = ModernBert().load(folder)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    check_equal(encoder, again.eval())


def test_a_masked_language_model_with_settings_of_old_loads(tmp_path: Path) -> None:
    """The names and settings of the files that were published with the paper."""
    torch.manual_seed(0)
    old = {"global_attn_every_n_layers": 2, "global_rope_theta": 900.0, "local_rope_theta": 70.0}
    model = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**SIZES, **old)).eval()
    model.save_pretrained(tmp_path)
    assert "model.embeddings.tok_embeddings.weight" in load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("layer_types", "rope_parameters"):
        config.pop(key)
    (tmp_path / "config.json").write_text(json.dumps({**config, **old}))
    check_equal(ModernBert().load(tmp_path), model.model)


@pytest.mark.parametrize("options", ModernBert.contract_variants())
def test_from_scratch_loads_in_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    encoder = ModernBert(**{**options, "max_positions": 700, "init_std": 0.2}).build(vocab_size=99, pad_id=0)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    check_equal(encoder, transformers.AutoModel.from_pretrained(tmp_path).eval())


@pytest.mark.parametrize(
    ("name", "sizes"), [("tiny", (2, 128, 2, 192)), ("base", (22, 768, 12, 1152)), ("large", (28, 1024, 16, 2624))]
)
def test_named_shapes(name: Any, sizes: tuple[int, ...]) -> None:
    shape = ModernBert(shape=name).scratch_shape(*ModernBert.shapes[name], vocab_size=99, pad_id=0)
    assert (shape.layers, shape.hidden_size, shape.heads, shape.intermediate_size) == sizes


def test_a_local_layer_sees_no_further_than_half_the_window() -> None:
    encoder = ModernBert(hidden_size=32, layers=2, heads=2, window=6, init_std=0.2).build(vocab_size=99, pad_id=0)
    encoder.eval()
    # The first of the two layers is global; without what it attends to, no token knows of another after it.
    encoder.layers[0].attention_output.weight.data.zero_()
    row = list(range(5, 25))
    changed = [*row[:10], 90, *row[11:]]
    with torch.no_grad():
        difference = (encoder(pack_ids([row]))[0] - encoder(pack_ids([changed]))[0]).abs().amax(dim=1) > 1e-6
    assert difference.nonzero().flatten().tolist() == list(range(7, 14))


def test_no_gradient_crosses_rows() -> None:
    encoder = ModernBert(hidden_size=32, layers=3, heads=2, window=4).build(vocab_size=50, pad_id=0)
    last, _ = encoder(pack_ids([[5, 6, 7, 8], [8, 9], [10, 11, 12, 13, 14]]))
    last[:4].square().sum().backward()
    grads = encoder.word_embeddings.grad.abs().sum(dim=1)
    assert torch.isfinite(grads).all()
    assert (grads[5:9] > 0).all()
    assert (grads[9:] == 0).all()


def test_dropout_trains() -> None:
    encoder = ModernBert(hidden_size=32, layers=3, heads=2, window=4, dropout=0.1, attention_dropout=0.1).build(
        vocab_size=50, pad_id=0
    )
    last, _ = encoder.train()(pack_ids([[5] * 7, [6] * 600, [7] * 7]))
    last.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**9}, "layer"),
        ({"num_hidden_layers": 10**9, "layer_types": None}, "layers"),
        ({"num_hidden_layers": 5, "layer_types": None}, "asks for 5 layers"),
        ({"num_attention_heads": 5}, "5 heads do not divide"),
        ({"num_attention_heads": 32}, "heads of an even size"),
        ({"hidden_size": 10**9, "num_attention_heads": 1}, "one matrix would have"),
        ({"intermediate_size": 50}, r"mlp.Wi.weight is \[96, 32\], config.json says \[100, 32\]"),
        ({"local_attention": -3}, "local_attention"),
        ({"layer_types": [LOCAL, "mystery", GLOBAL, LOCAL]}, "layer_types"),
        ({"layer_types": 3}, "missing or wrong setting"),
        ({"rope_parameters": [1]}, "missing or wrong setting"),
        ({"rope_parameters": {GLOBAL: {"rope_type": "yarn", "rope_theta": 10.0}}}, "type: hf"),
        ({"rope_parameters": {LOCAL: {"rope_theta": -1}}}, "local_rope_theta"),
        ({"hidden_activation": "mystery"}, "mystery"),
        ({"model_type": "bert"}, "not modernbert"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    transformers.ModernBertModel(transformers.ModernBertConfig(**SIZES)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(BraidError, match=message):
        ModernBert().load(tmp_path)


def test_a_row_longer_than_the_positions_is_told() -> None:
    encoder = ModernBert(hidden_size=32, layers=1, heads=2, max_positions=8).build(vocab_size=50, pad_id=0)
    with pytest.raises(BraidError, match="row of 9 tokens"):
        encoder(pack_ids([[5] * 9]))
