"""`braid convert` of Google's checkpoints, which TensorFlow itself reads and writes here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from braid.errors import BraidError
from braid.tools.convert import convert
from foreign import assert_same, transformers_directory, weights


@pytest.fixture
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="braid-nlp[tensorflow] is not installed")


@pytest.mark.parametrize("architecture", ["BertForPreTraining", "AlbertForPreTraining", "BertModel"])
def test_a_round_trip_is_bitwise_equal(architecture: str, tmp_path: Path, tensorflow: Any) -> None:
    transformers_directory(tmp_path / "a", architecture)
    convert(tmp_path / "a", tmp_path / "tf", to="tensorflow")
    report = convert(tmp_path / "tf", tmp_path / "c", to="transformers")
    assert report.unmapped == {}
    assert_same(weights(tmp_path / "c"), weights(tmp_path / "a"))


def test_the_names_and_sizes_are_googles(tmp_path: Path, tensorflow: Any) -> None:
    transformers_directory(tmp_path / "a", "BertForPreTraining")
    convert(tmp_path / "a", tmp_path / "tf", to="tensorflow")
    reader = tensorflow.train.load_checkpoint(str(tmp_path / "tf" / "bert_model.ckpt"))
    found = reader.get_variable_to_shape_map()
    state, layer = weights(tmp_path / "a"), "bert/encoder/layer_1"
    assert found["bert/embeddings/LayerNorm/gamma"] == [32]
    assert found[f"{layer}/intermediate/dense/kernel"] == [32, 48]
    assert found["cls/seq_relationship/output_weights"] == [2, 32]
    query = reader.get_tensor(f"{layer}/attention/self/query/kernel")
    assert (state["bert.encoder.layer.1.attention.self.query.weight"].numpy() == query.T).all()
    bias = reader.get_tensor("cls/predictions/output_bias")
    assert (bias == state["cls.predictions.bias"].numpy()).all()
    assert len(found) == len(state)
    assert (tmp_path / "tf" / "vocab.txt").read_text() == (tmp_path / "a" / "vocab.txt").read_text()


def test_a_checkpoint_of_albert_has_albert_names(tmp_path: Path, tensorflow: Any) -> None:
    transformers_directory(tmp_path / "a", "AlbertForPreTraining")
    convert(tmp_path / "a", tmp_path / "tf", to="tensorflow")
    found = tensorflow.train.load_checkpoint(str(tmp_path / "tf" / "bert_model.ckpt")).get_variable_to_shape_map()
    stem = "bert/encoder/transformer/group_0/inner_group_0"
    assert found["bert/encoder/embedding_hidden_mapping_in/kernel"] == [16, 32]
    assert {
        f"{stem}/LayerNorm/gamma",
        f"{stem}/LayerNorm_1/beta",
        f"{stem}/attention_1/self/key/kernel",
    } <= found.keys()
    assert found[f"{stem}/ffn_1/intermediate/output/dense/kernel"] == [48, 32]


def test_what_the_optimiser_left_is_listed_and_a_cut_file_is_refused(tmp_path: Path, tensorflow: Any) -> None:
    transformers_directory(tmp_path / "a", "BertForPreTraining")
    convert(tmp_path / "a", tmp_path / "tf", to="tensorflow")
    prefix = str(tmp_path / "tf" / "bert_model.ckpt")
    reader = tensorflow.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    tensors |= {
        "global_step": tensors["cls/seq_relationship/output_bias"],
        "bert/pooler/dense/bias/adam_m": tensors["bert/pooler/dense/bias"],
    }
    names = sorted(tensors)
    tensorflow.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[n] for n in names]
    )
    report = convert(tmp_path / "tf", tmp_path / "run")
    assert report.unmapped == {"global_step": "the optimiser's", "bert/pooler/dense/bias/adam_m": "the optimiser's"}
    data = next((tmp_path / "tf").glob("*.data-*"))
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(BraidError, match="damaged, cut short"):
        convert(tmp_path / "tf", tmp_path / "other")


def test_without_tensorflow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    transformers_directory(tmp_path / "a", "BertForPreTraining")
    with pytest.raises(BraidError, match=r"pip install 'braid-nlp\[tensorflow\]'"):
        convert(tmp_path / "a", tmp_path / "tf", to="tensorflow")
    assert not (tmp_path / "tf").exists()
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt/x.index").write_bytes(b"x" * 40 + bytes.fromhex("57fb808b247547db"))
    (tmp_path / "ckpt/bert_config.json").write_text(json.dumps({"hidden_size": 32}))
    with pytest.raises(BraidError, match=r"pip install 'braid-nlp\[tensorflow\]'"):
        convert(tmp_path / "ckpt", tmp_path / "run")
    (tmp_path / "gpt").mkdir()
    transformers_directory(tmp_path / "gpt", "GPT2Model")
    with pytest.raises(BraidError, match="are of BERT or ALBERT, this is gpt2"):
        convert(tmp_path / "gpt", tmp_path / "tf", to="tensorflow")
