"""What all encoders have in common that transformers does not have."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from braid.checkpoint.files import save_tensors, write_json
from braid.config.families import EncoderConfig
from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from braid.encoders.own import OwnVariant
from braid.errors import BraidError

OWN = {name: variant for name, variant in EncoderConfig.variants().items() if issubclass(variant, OwnVariant)}
KINDS = [(name, number) for name, variant in OWN.items() for number in range(len(variant.contract_variants()))]
ROWS = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14], [15, 16, 17, 18]]
PIECES = {"lstm": "layers.1.cell.weight_hh_l0", "cnn": "layers.1.convolution.kernel.weight"}


def config_of(name: str, number: int = 0, **options: Any) -> OwnVariant:
    return OWN[name].model_validate({"type": name, **OWN[name].contract_variants()[number], **options})


def encoder_of(name: str, number: int = 0, **options: Any) -> Encoder:
    torch.manual_seed(0)
    return config_of(name, number, **options).build(vocab_size=60, pad_id=0)


def saved(folder: Path, encoder: Encoder, **options: Any) -> Path:
    """A directory of an encoder whose config.json says something else in its options."""
    save_tensors(folder / "model.safetensors", encoder.hf_state())
    config = encoder.hf_config()
    write_json(folder / "config.json", {**config, "braid": {**config["braid"], **options}})
    return folder


def test_the_expected_encoders_are_there() -> None:
    expected = {"lstm", "gru", "bilstm", "bigru", "cnn", "gatedcnn", "rcnn", "crnn", "attn", "synt"}
    assert expected <= set(OWN)
    assert "own" not in EncoderConfig.variants()
    assert not any(variant.has_twin for variant in OWN.values())


@pytest.mark.parametrize("name", OWN)
def test_a_hidden_size_and_layers_are_enough(name: str) -> None:
    config = EncoderConfig.choose({"type": name, "hidden_size": 128, "layers": 1})
    encoder = config.build(vocab_size=60, pad_id=3)  # type: ignore[attr-defined]
    assert (encoder.hidden_size, encoder.n_layers, encoder.n_states) == (128, 1, 2)
    assert not encoder.word_embeddings[3].any()


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_states_are_of_one_size_and_the_last_is_what_heads_read(name: str, number: int) -> None:
    encoder, batch = encoder_of(name, number).eval(), pack_ids(ROWS)
    last, states = encoder(batch)
    assert len(states) == encoder.n_states
    assert {tuple(state.shape) for state in states} == {(14, 32)}
    assert torch.equal(last, states[-1])


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_no_gradient_crosses_rows(name: str, number: int) -> None:
    encoder, batch = encoder_of(name, number).eval(), pack_ids(ROWS)
    for span, row in zip(batch, ROWS, strict=True):
        encoder.zero_grad()
        encoder(batch)[0][span].square().sum().backward()
        grad = encoder.get_parameter("embeddings.word.weight").grad
        assert grad is not None
        assert grad.abs().sum(dim=1).nonzero().flatten().tolist() == row


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_every_parameter_learns_and_bfloat16_is_finite(name: str, number: int) -> None:
    encoder = encoder_of(name, number).train()
    with torch.autocast("cpu", torch.bfloat16):
        last, states = encoder(pack_ids(ROWS))
    assert all(torch.isfinite(state).all() for state in states)
    last.float().square().sum().backward()
    for parameter, value in encoder.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.any(), parameter


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_bfloat16_stays_near(name: str, number: int) -> None:
    encoder, batch = encoder_of(name, number).eval(), pack_ids(ROWS)
    with torch.no_grad():
        expected = encoder(batch)[0]
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(batch)[0].float()
    assert F.cosine_similarity(found, expected).min() > 0.999


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_it_learns_to_classify(name: str, number: int) -> None:
    encoder, head = encoder_of(name, number).train(), nn.Linear(32, 3)
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(4, 60, (2 + k,), generator=generator).tolist() for k in range(9)]
    labels, batch = torch.arange(9) % 3, pack_ids(rows)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(40):
        last = encoder(batch)[0]
        pooled = torch.stack([last[span].mean(dim=0) for span in batch])
        loss = F.cross_entropy(head(pooled), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < losses[0]


@pytest.mark.parametrize(("name", "number"), KINDS)
def test_the_config_says_all_that_makes_the_encoder(name: str, number: int, tmp_path: Path) -> None:
    encoder = encoder_of(name, number)
    config = json.loads(json.dumps(encoder.hf_config()))
    assert config["model_type"] == f"braid-{name}"
    assert (config["hidden_size"], config["num_hidden_layers"]) == (32, encoder.n_layers)
    assert (config["vocab_size"], config["pad_token_id"]) == (60, 0)
    assert not {"pretrained", "vocab", "vocab_size", "max_length", "stride"} & set(config["braid"])
    loaded = OWN[name].model_validate({"type": name}).load(saved(tmp_path, encoder))
    assert loaded.hf_config() == encoder.hf_config()
    assert loaded.hf_state().keys() == encoder.hf_state().keys()
    assert all(torch.equal(loaded.hf_state()[key], value) for key, value in encoder.hf_state().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_only_dropout_overrides_the_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of("lstm", dropout=0.3))
    kept = config_of("lstm").load(folder)
    changed = config_of("lstm", layers=7, hidden_size=512, dropout=0.0).load(folder)
    assert {module.p for module in kept.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert {module.p for module in changed.modules() if isinstance(module, nn.Dropout)} == {0.0}
    assert (changed.hidden_size, changed.n_layers) == (32, 2)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of("lstm"))
    with pytest.raises(BraidError, match="'lstm' encoder; the recipe says `type: gru`"):
        config_of("gru").load(folder)


@pytest.mark.parametrize(("name", "field", "value"), [("lstm", "layers", 10**9), ("bilstm", "hidden_size", 10**12)])
def test_what_cannot_be_meant_is_refused_at_once(name: str, field: str, value: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of(name), **{field: value})
    started = time.perf_counter()
    with pytest.raises(BraidError, match=field):
        config_of(name).load(folder)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("value", [0, -1, 2**40, 1.5, "many", None])
def test_a_vocabulary_that_cannot_be_is_refused(value: Any, tmp_path: Path) -> None:
    encoder = encoder_of("cnn")
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", {**encoder.hf_config(), "vocab_size": value})
    with pytest.raises(BraidError, match="vocab_size"):
        config_of("cnn").load(tmp_path)


@pytest.mark.parametrize("name", PIECES)
def test_weights_that_do_not_fit_are_listed(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of(name))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word.weight"] = torch.zeros(61, 32)
    del weights[PIECES[name]]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BraidError) as caught:
        config_of(name).load(folder)
    assert "embeddings.word.weight is [61, 32], config.json says [60, 32]" in str(caught.value)
    assert PIECES[name] in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bilstm", {"hidden_size": 33}, "encoder.hidden_size"),
        ("bigru", {"hidden_size": 33, "directions": "joint"}, "encoder.hidden_size"),
        ("crnn", {"hidden_size": 33}, "encoder.hidden_size"),
        ("attn", {"heads": 5}, "encoder.heads"),
        ("synt", {"heads": 5}, "encoder.heads"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BraidError, match=message):
        encoder_of(name, **options)


@pytest.mark.parametrize("name", ["lstm", "synt"])
def test_a_row_that_is_longer_than_the_positions_is_refused(name: str) -> None:
    encoder = encoder_of(name, embedding="word_position_segment", max_positions=8).eval()
    assert encoder.max_positions == 8
    encoder(pack_ids([[5] * 8]))
    with pytest.raises(BraidError, match="row of 9 tokens"):
        encoder(pack_ids([[5] * 9]))


@pytest.mark.parametrize("embedding", ["word", "sinusoidal"])
def test_without_learned_positions_rows_may_have_any_length(embedding: str) -> None:
    encoder = encoder_of("cnn", embedding=embedding, max_positions=8).eval()
    assert encoder.max_positions is None
    assert encoder(pack_ids([[5] * 20]))[0].shape == (20, 32)
