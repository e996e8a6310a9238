"""The packed encoder against transformers: same weights, same hidden states, and back again."""

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
from braid.encoders.bert import Bert
from braid.errors import BraidError

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}
KINDS: dict[str, Any] = {
    "bert": lambda: transformers.BertConfig(**SIZES),
    "bert-relu": lambda: transformers.BertConfig(**SIZES, hidden_act="relu", layer_norm_eps=1e-5),
    "roberta": lambda: transformers.RobertaConfig(**{**SIZES, "type_vocab_size": 1}, pad_token_id=1),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**{**SIZES, "type_vocab_size": 1}, pad_token_id=1),
    "electra": lambda: transformers.ElectraConfig(**SIZES, embedding_size=16),
    "electra-same": lambda: transformers.ElectraConfig(**SIZES, embedding_size=32),
    "albert": lambda: transformers.AlbertConfig(**SIZES, embedding_size=16),
    "albert-groups": lambda: transformers.AlbertConfig(
        **{**SIZES, "num_hidden_layers": 4}, embedding_size=16, num_hidden_groups=2, inner_group_num=2
    ),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=99, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=40
    ),
    "ernie": lambda: transformers.ErnieConfig(**SIZES, use_task_id=True, task_type_vocab_size=3),
}
LENGTHS = (5, 17, 9, 9, 1, 30)


def rows(kind: str) -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(4, 99, (n,), generator=generator).tolist() for n in LENGTHS]
    one = kind in ("roberta", "xlm-roberta", "distilbert")
    return ids, [[0 if one or k < n // 2 else 1 for k in range(n)] for n in LENGTHS]


def reference(model: Any, kind: str) -> list[list[torch.Tensor]]:
    """Every layer's hidden states of every row, each row alone."""
    out = []
    for ids, types in zip(*rows(kind), strict=True):
        extra = {} if kind == "distilbert" else {"token_type_ids": torch.tensor([types])}
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True, **extra).hidden_states
        out.append([state[0] for state in states])
    return out


@pytest.fixture(scope="module", params=list(KINDS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(KINDS[request.param]()).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return request.param, folder, model


def encode(encoder: Encoder, kind: str) -> tuple[Any, list[list[torch.Tensor]]]:
    batch = pack_ids(*rows(kind))
    encoder.eval()
    with torch.no_grad():
        last, layers = encoder(batch)
    assert torch.equal(last, layers[-1])
    return batch, [[layer[span] for layer in layers] for span in batch]


def test_hidden_states_of_every_layer_equal_transformers(saved: tuple[str, Path, Any]) -> None:
    kind, folder, model = saved
    _, ours = encode(Bert().load(folder), kind)
    for row, expected in zip(ours, reference(model, kind), strict=True):
        # The first state of a mapped ALBERT or ELECTRA is taken before or after the mapping; both are embeddings.
        for got, want in list(zip(row, expected, strict=True))[1:]:
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_weights_go_back_bitwise_and_load_in_transformers(saved: tuple[str, Path, Any], tmp_path: Path) -> None:
    kind, folder, model = saved
    encoder = Bert().load(folder)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for row, expected in zip(reference(again.eval(), kind), reference(model, kind), strict=True):
        assert torch.equal(row[-1], expected[-1])


def test_a_row_does_not_know_the_others(saved: tuple[str, Path, Any]) -> None:
    kind, folder, _ = saved
    encoder = Bert().load(folder).eval()
    ids, types = rows(kind)
    _, together = encode(encoder, kind)
    for number in range(len(ids)):
        with torch.no_grad():
            alone, _ = encoder(pack_ids([ids[number]], [types[number]]))
        torch.testing.assert_close(together[number][-1], alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_has_a_depth(saved: tuple[str, Path, Any]) -> None:
    _, folder, _ = saved
    encoder = Bert().load(folder)
    depths = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert min(depths) == 0
    assert max(depths) == encoder.n_layers


def test_no_gradient_crosses_rows() -> None:
    encoder = Bert(hidden_size=32, layers=2, heads=2, dropout=0.0).build(vocab_size=50, pad_id=0)
    batch = pack_ids([[5, 6, 7], [8, 9], [10, 11, 12]])
    last, _ = encoder(batch)
    last[:3].square().sum().backward()
    grads = encoder.embeddings.word.weight.grad.abs().sum(dim=1)
    assert (grads[[5, 6, 7]] > 0).all()
    assert (grads[8:] == 0).all()


@pytest.mark.parametrize("options", [options for options in Bert.contract_variants() if Bert(**options).twin()])
def test_from_scratch_loads_in_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    encoder = Bert(**options).build(vocab_size=99, pad_id=0)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    _, ours = encode(encoder, "bert")
    for row, expected in zip(ours, reference(model, "bert"), strict=True):
        torch.testing.assert_close(row[-1], expected[-1], atol=1e-5, rtol=1e-5)


TINY: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "max_positions": 16, "init_std": 0.2}
OWN: dict[str, dict[str, Any]] = {
    "pre-norm": {"norm": "pre"},
    "gated": {"feed_forward": "gated"},
    "rotary": {"positions": "rotary"},
    "relative": {"positions": "relative"},
    "sinusoidal": {"positions": "sinusoidal"},
}


@pytest.fixture(params=list(OWN))
def own(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return Bert(**TINY, **OWN[request.param]).build(vocab_size=99, pad_id=0).eval()


def test_what_has_no_twin_has_a_type_of_its_own_and_every_row_is_alone(own: Encoder, tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors", own.hf_state())
    write_json(tmp_path / "config.json", own.hf_config())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "braid-bert"
    loaded = Bert().load(tmp_path).eval()
    rows = [[5] * 7, [6, 7, 8, 9], [10] * 16, [11, 12, 13]]
    batch = pack_ids(rows)
    with torch.no_grad():
        last, _ = own(batch)
        assert torch.equal(loaded(batch)[0], last)
        for span, row in zip(batch, rows, strict=True):
            torch.testing.assert_close(own(pack_ids([row]))[0], last[span], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_kind_of_positions_knows_order(own: Encoder) -> None:
    one, other = own(pack_ids([[5, 6, 7, 8], [5, 7, 6, 8]]))[0].split(4)
    assert not torch.allclose(one[0], other[0], atol=1e-4)


@torch.no_grad()
def test_only_learned_positions_have_an_end(own: Encoder) -> None:
    long = pack_ids([[5] * 40])
    if own.max_positions is None:
        assert own(long)[0].shape == (40, 32)
    else:
        with pytest.raises(BraidError, match="row of 40 tokens is longer than the encoder's 16 positions"):
            own(long)


def test_every_weight_of_it_learns(own: Encoder) -> None:
    own.train()(pack_ids([[5, 6, 7, 8], [9, 10], [11] * 5]))[0].square().mul(torch.randn(11, 32)).sum().backward()
    for name, parameter in own.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_gated_feed_forward_has_as_many_weights_as_a_plain_one() -> None:
    plain, gated = (Bert(shape="tiny", feed_forward=kind).build(vocab_size=9, pad_id=0) for kind in ("plain", "gated"))
    assert plain.layers[0].intermediate.weight.shape == (512, 128)
    assert gated.layers[0].intermediate.weight.shape == (768, 128)
    assert gated.layers[0].output.weight.shape == (128, 384)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": "mystery"}, "positions 'mystery', none of learned, rotary, relative, sinusoidal"),
        ({"norm": 3}, "norm 3, none of post, pre"),
        ({"feed_forward": None}, "feed_forward None"),
        ({"num_hidden_layers": 10**9}, "layers"),
        ({"num_attention_heads": 32}, "heads of an even size"),
        ({"hidden_size": 2**30, "num_attention_heads": 1}, "one matrix would have"),
    ],
)
def test_a_wrong_setting_of_ours_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    own = Bert(**TINY, positions="rotary").build(vocab_size=99, pad_id=0)
    save_tensors(tmp_path / "model.safetensors", own.hf_state())
    write_json(tmp_path / "config.json", {**own.hf_config(), **settings})
    with pytest.raises(BraidError, match=message):
        Bert().load(tmp_path)


def test_odd_heads_cannot_be_rotated() -> None:
    with pytest.raises(BraidError, match="heads of an even size"):
        Bert(hidden_size=30, layers=1, heads=2, positions="rotary").build(vocab_size=99, pad_id=0)


def test_attention_dropout_and_padding_blocks_train_alike() -> None:
    torch.manual_seed(0)
    encoder = Bert(hidden_size=32, layers=1, heads=2, attention_dropout=0.2).build(vocab_size=50, pad_id=0)
    encoder.train()
    last, _ = encoder(pack_ids([[5] * 7, [6] * 8, [7] * 7]))
    assert torch.isfinite(last).all()


def test_prefixed_and_old_names_load(tmp_path: Path) -> None:
    config = KINDS["bert"]()
    model = transformers.BertForSequenceClassification(config).eval()
    state = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in model.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    _, ours = encode(Bert().load(tmp_path), "bert")
    for row, expected in zip(ours, reference(model.bert, "bert"), strict=True):
        torch.testing.assert_close(row[-1], expected[-1], atol=1e-5, rtol=1e-5)


def change(folder: Path, tmp_path: Path, **settings: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **settings}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    transformers.BertModel(KINDS["bert"]()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**9}, "layers"),
        ({"num_hidden_layers": 4}, "asks for 4 layers"),
        ({"intermediate_size": 50}, r"config.json says \[50, 32\]"),
        ({"model_type": "gpt2"}, "type: hf"),
        ({"position_embedding_type": "relative_key"}, "relative positions"),
        ({"hidden_size": "many"}, "missing or wrong setting"),
        ({"hidden_act": "mystery"}, "mystery"),
    ],
)
def test_what_does_not_fit_is_refused(bert: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BraidError, match=message):
        Bert().load(change(bert, tmp_path, **settings))


def test_missing_tensors_are_all_named(bert: Path, tmp_path: Path) -> None:
    change(bert, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.bias"):
        del state[name]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BraidError, match=r"embeddings.word_embeddings.weight, encoder.layer.1.output.dense.bias"):
        Bert().load(tmp_path)


def test_damaged_and_pickled_weights_are_refused(bert: Path, tmp_path: Path) -> None:
    change(bert, tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BraidError, match="damaged"):
        Bert().load(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BraidError, match="can run code"):
        Bert().load(tmp_path)


def test_real_pretrained_weights_equal_transformers(minilm: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    texts = ["Braid trains one encoder.", "A much longer sentence about nothing in particular, with commas.", "Hi"]
    batch = pack_ids([tokenizer(text)["input_ids"] for text in texts])
    encoder = Bert().load(minilm).eval()
    with torch.no_grad():
        last, _ = encoder(batch)
        for span, text in zip(batch, texts, strict=True):
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            torch.testing.assert_close(last[span], expected, atol=1e-5, rtol=1e-5)
