"""Google's TensorFlow checkpoints of BERT and ALBERT.

Names: modeling.py and run_pretraining.py of github.com/google-research/bert and github.com/google-research/albert.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid.checkpoint.files import replace_directory, write_bytes, write_json
from braid.encoders.layouts import Layout, Rules
from braid.encoders.packed_module import PackedEncoder
from braid.errors import BraidError
from braid.nn.transformer import Shape
from braid.tools.convert.hf_heads import Names
from braid.tools.convert.hf_reading import language_head
from braid.tools.convert.hf_writing import refusal, their_names
from braid.tools.convert.kind import Kind, Options, Source, token_list, vocabulary
from braid.tools.convert.model import Model, TaskHead, check_sizes, fill, head, skeleton_of, variant_of
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import sizes_of
from braid.tools.convert.uer_config import read_settings

MAGIC = bytes.fromhex("57fb808b247547db")
"""How the index of a checkpoint ends: the magic number of LevelDB's tables."""

WRITTEN = "bert_model.ckpt"
CONFIGS = ("bert_config.json", "albert_config.json")

_EMBEDDINGS: Rules = {
    "embeddings.word.weight": "bert/embeddings/word_embeddings",
    "embeddings.position.weight": "bert/embeddings/position_embeddings",
    "embeddings.segment.weight": "bert/embeddings/token_type_embeddings",
    "embeddings.norm": "bert/embeddings/LayerNorm",
}


def _layer(stem: str, parts: Mapping[str, str]) -> Rules:
    attention = f"{stem}{parts['attention']}"
    return {
        "layers.{i}.qkv": (f"{attention}/self/query", f"{attention}/self/key", f"{attention}/self/value"),
        "layers.{i}.attention_output": f"{attention}/output/dense",
        "layers.{i}.attention_norm": f"{stem}{parts['first_norm']}",
        "layers.{i}.intermediate": f"{stem}{parts['intermediate']}",
        "layers.{i}.output": f"{stem}{parts['output']}",
        "layers.{i}.output_norm": f"{stem}{parts['second_norm']}",
    }


_OF_BERT = {
    "attention": "attention",
    "first_norm": "attention/output/LayerNorm",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
    "second_norm": "output/LayerNorm",
}
_OF_ALBERT = {
    "attention": "attention_1",
    "first_norm": "LayerNorm",
    "intermediate": "ffn_1/intermediate/dense",
    "output": "ffn_1/intermediate/output/dense",
    "second_norm": "LayerNorm_1",
}


def _no_shape(config: Mapping[str, Any]) -> Shape:
    raise AssertionError("the settings are read as transformers' are")


_BERT_LAYERS = _layer("bert/encoder/layer_{i}/", _OF_BERT)
_ALBERT_LAYERS = _layer("bert/encoder/transformer/group_{g}/inner_group_{j}/", _OF_ALBERT)
_ALBERT: Rules = {
    **_EMBEDDINGS,
    **_ALBERT_LAYERS,
    "embeddings.project": "bert/encoder/embedding_hidden_mapping_in",
}
LAYOUTS = {
    "bert": Layout("tf-bert", "\0", {**_EMBEDDINGS, **_BERT_LAYERS}, _no_shape),
    "albert": Layout("tf-albert", "\0", _ALBERT, _no_shape),
}
_MLM: Names = {
    "predictor.dense": "cls/predictions/transform/dense",
    "predictor.norm": "cls/predictions/transform/LayerNorm",
    "predictor.bias": "cls/predictions/output_bias",
}
_PAIR: Names = {"features.dense": "bert/pooler/dense"}
_CLASSES = {
    "classifier.weight": "cls/seq_relationship/output_weights",
    "classifier.bias": "cls/seq_relationship/output_bias",
}
_NOT_WEIGHTS = re.compile(r"(^|/)(adam_[mv]|lamb_[mv]|global_step|beta\d_power|AdamWeightDecayOptimizer.*)(_\d+)?$")


class TensorflowCheckpoint(Kind):
    """A directory with one checkpoint (`.index` and `.data-*`), its config and vocabulary, or the checkpoint's path."""

    name: ClassVar[str] = "tensorflow"
    title: ClassVar[str] = "a TensorFlow checkpoint of BERT or ALBERT"

    def recognises(self, source: Source) -> bool:
        index = _index(source.path)
        if index is None:
            return False
        with open(index, "rb") as file:
            file.seek(-min(8, index.stat().st_size), os.SEEK_END)
            return file.read() == MAGIC

    def read(self, source: Source, options: Options, report: Report) -> Model:
        index = _index(source.path)
        assert index is not None
        raw = _read_tensors(index.with_suffix(""))
        tensors = {_ours(name): _turned(name, tensor) for name, tensor in raw.items() if not _NOT_WEIGHTS.search(name)}
        report.leave((name for name in raw if _NOT_WEIGHTS.search(name)), "the optimiser's")
        folder = index.parent
        given = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
        settings = read_settings(options.config or given)
        if not settings:
            raise BraidError(f"{folder} holds no {' or '.join(CONFIGS)}; give it with --config")
        albert = any("/inner_group_" in name for name in tensors)
        defaults = {"pad_token_id": 0, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
        config = {**defaults, **settings, "model_type": "albert" if albert else "bert"}
        # As transformers has them: its BERT computes gelu exactly, its ALBERT by tanh.
        if albert and config["hidden_act"] == "gelu":
            config["hidden_act"] = "gelu_new"
        encoder = _encoder(config, tensors, source.path, report)
        heads = _heads(tensors, encoder, albert, report)
        report.leave(
            (name for name in tensors if name not in report.mapped), "no part of an encoder or head of Braid's"
        )
        beside = next((folder / name for name in ("vocab.txt", "tokenizer.json") if (folder / name).is_file()), None)
        tokenizer = vocabulary(options, beside, encoder.vocab_size, report)
        return Model(encoder, variant_of(config, str(source.path)), heads, tokenizer)

    def write(self, model: Model, path: Path, options: Options, report: Report) -> None:
        encoder = model.encoder
        kind = encoder.layout.model_type if isinstance(encoder, PackedEncoder) else type(encoder).__name__
        if kind not in LAYOUTS or not isinstance(encoder, PackedEncoder):
            raise BraidError(f"Google's checkpoints are of BERT or ALBERT, this is {kind}")
        tensors = LAYOUTS[kind].to_theirs(dict(encoder.state_dict()), encoder.shape)
        if encoder.pooler is not None:
            tensors |= {"bert/pooler/dense.weight": encoder.pooler[0], "bert/pooler/dense.bias": encoder.pooler[1]}
        tensors |= _written_heads(model, report)
        config = {
            key: value for key, value in encoder.hf_config().items() if key not in ("architectures", "torch_dtype")
        }

        def fill_folder(folder: Path) -> None:
            _save_tensors(folder / WRITTEN, {_theirs(name): _turned(_theirs(name), t) for name, t in tensors.items()})
            write_json(folder / f"{kind}_config.json", config)
            lines = None if model.tokenizer is None else token_list(model.tokenizer)
            if lines is not None:
                write_bytes(folder / "vocab.txt", lines)
            elif model.tokenizer is not None:
                model.tokenizer.save(folder)

        _tensorflow()
        replace_directory(path, fill_folder)
        report.written.append(str(path))


def _index(path: Path) -> Path | None:
    """The index of a checkpoint: of the path's own name, or the only one of a directory."""
    beside = path.with_name(f"{path.name}.index")
    if path.is_file() and path.suffix == ".index":
        return path
    if beside.is_file():
        return beside
    found = sorted(path.glob("*.index")) if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow
    except ImportError as error:
        raise BraidError(
            "TensorFlow's checkpoints are read and written by TensorFlow: pip install 'braid-nlp[tensorflow]'"
        ) from error
    return tensorflow


def _read_tensors(prefix: Path) -> dict[str, Tensor]:
    tensorflow = _tensorflow()
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        names = sorted(reader.get_variable_to_shape_map())
        return {name: torch.from_numpy(reader.get_tensor(name).copy()) for name in names}
    except (ValueError, AttributeError, TypeError, LookupError, RuntimeError, tensorflow.errors.OpError) as error:
        raise BraidError(f"{prefix}: damaged, cut short or no checkpoint: {str(error).splitlines()[0]}") from error


def _save_tensors(prefix: Path, tensors: Mapping[str, Tensor]) -> None:
    tensorflow = _tensorflow()
    names = sorted(tensors)
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensors[name].detach().contiguous().numpy() for name in names],
    )


def _turned(name: str, tensor: Tensor) -> Tensor:
    """A matrix of a dense layer with its output first, as torch has it, and back."""
    return tensor.T.contiguous() if name.endswith("/kernel") else tensor


def _ours(name: str) -> str:
    """A variable's name, its last part in torch's words."""
    stem, _, last = name.rpartition("/")
    words = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    plain = name.removeprefix("module/")
    return f"{stem.removeprefix('module/')}.{words[last]}" if last in words else plain


def _theirs(name: str) -> str:
    """The other way round."""
    stem, dot, last = name.rpartition(".")
    if not dot:
        return name
    norm = "LayerNorm" in stem.rpartition("/")[2]
    return (
        f"{stem}/{ {'weight': 'gamma', 'bias': 'beta'}[last] if norm else {'weight': 'kernel', 'bias': 'bias'}[last] }"
    )


def _encoder(config: dict[str, Any], tensors: Mapping[str, Tensor], path: Path, report: Report) -> PackedEncoder:
    encoder = skeleton_of(variant_of(config, str(path)), config, path)
    assert isinstance(encoder, PackedEncoder)
    layout, state = LAYOUTS[encoder.layout.model_type], encoder.state_dict()
    wanted = layout.wanted(state, encoder.shape)
    check_sizes(wanted, sizes_of(dict(tensors)), path, "the config")
    fill(encoder, layout.from_theirs(tensors, state, encoder.shape))
    report.map(wanted, "encoder")
    weight, bias = (tensors.get(f"bert/pooler/dense.{part}") for part in ("weight", "bias"))
    if weight is not None and bias is not None:
        encoder.keep_pooler(weight, bias)
        report.map(("bert/pooler/dense.weight", "bert/pooler/dense.bias"), "encoder")
    return encoder


def _heads(tensors: Mapping[str, Tensor], encoder: PackedEncoder, albert: bool, report: Report) -> dict[str, TaskHead]:
    heads = {}
    if "cls/predictions/output_bias" in tensors:
        weights = _named(_MLM, tensors)
        heads["mlm"] = language_head("mlm", weights, encoder)
        report.map((name for name in tensors if name.startswith("cls/predictions/")), "mlm")
    if _CLASSES["classifier.weight"] in tensors and encoder.pooler is not None:
        kind = "sop" if albert else "nsp"
        weights = {ours: tensors[theirs] for ours, theirs in _CLASSES.items()}
        weights |= _named(_PAIR, tensors)
        heads[kind] = head(kind, weights, {})
        report.map(_CLASSES.values(), kind)
    return heads


def _named(names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for ours, theirs in names.items():
        if theirs in tensors:
            out[ours] = tensors[theirs]
        out |= {f"{ours}.{k}": tensors[f"{theirs}.{k}"] for k in ("weight", "bias") if f"{theirs}.{k}" in tensors}
    return out


def _written_heads(model: Model, report: Report) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, one in model.heads.items():
        reason = refusal(one, ("mlm", "nsp", "sop"), "a checkpoint of Google's")
        if one.kind == "mlm" and "predictor.words" in one.weights:
            reason = "its output layer has vectors of its own"
        if reason is not None:
            report.leave([f"tasks/{name}"], reason)
        elif one.kind == "mlm":
            out |= their_names(_MLM, one.weights)
        else:
            out |= their_names(_PAIR, one.weights)
            out |= {theirs: one.weights[ours] for ours, theirs in _CLASSES.items()}
    return out
