"""A file of UER-py or TencentPretrain: `.bin`, with its config JSON and vocabulary beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from braid.checkpoint.files import write_bytes, write_json
from braid.encoders.base import Encoder
from braid.encoders.bert_layouts import OWN, ROBERTA_LIKE
from braid.encoders.gatedcnn import GatedCnnEncoder
from braid.encoders.own import OwnEncoder
from braid.encoders.own_recurrent import OneWay, TwoWay
from braid.encoders.packed_module import PackedEncoder
from braid.errors import BraidError
from braid.tools.convert import uer_names as names_of
from braid.tools.convert.kind import Kind, Options, Source, token_list, vocabulary
from braid.tools.convert.model import Model, check_sizes, fill, skeleton_of, variant_of
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import sizes_of, tensors_of
from braid.tools.convert.uer_config import kind_of, read_settings, transformer_config, written_settings
from braid.tools.convert.uer_heads import read_heads, write_heads
from braid.tools.convert.uer_recurrent import read_gated, read_recurrent, write_gated, write_recurrent

COPIED = (
    "norms are copied, as UER-py's own scripts do; UER-py itself divides by the deviation with N - 1 in it: "
    "--exact-norms makes hidden states those that it computes"
)
HELD = ("bert", "roberta", "xlm-roberta", "camembert", "albert", "gpt2", OWN)
_SEGMENT, _POSITION = "embedding.seg.embedding.weight", "embedding.pos.embedding.weight"


class Uer(Kind):
    """Old and new names are read; new ones are written, a norm's parts as gamma and beta."""

    name: ClassVar[str] = "uer"
    title: ClassVar[str] = "a .bin of UER-py or TencentPretrain"
    suffixes: ClassVar[tuple[str, ...]] = (".bin",)

    def recognises(self, source: Source) -> bool:
        tensors = tensors_of(source.content)
        if tensors is None:
            return False
        names = names_of.today(tensors)
        return "embedding.word.embedding.weight" in names or (
            any(name.startswith("embedding.") for name in names) and any(name.startswith("encoder.") for name in names)
        )

    def read(self, source: Source, options: Options, report: Report) -> Model:
        path = source.path
        raw = tensors_of(source.content)
        assert raw is not None
        real = names_of.today(raw)
        tensors = {name: raw[old] for name, old in real.items()}
        settings = read_settings(options.config or _beside(path, "config.json"))
        if not settings:
            report.missing["config"] = "sizes are told by the tensors, the rest is UER-py's defaults (--config)"
        if options.exact_norms and settings.get("layernorm") != "normal_torch":
            tensors = {name: _scaled(name, tensor, down=True) for name, tensor in tensors.items()}
            report.notes.append("norms are scaled to those that UER-py computes")
        elif any("layer_norm" in name for name in tensors) and settings.get("layernorm") != "normal_torch":
            report.notes.append(COPIED)
        kind = kind_of(sizes_of(tensors), settings, path)
        encoder: Encoder
        if kind == "transformer":
            encoder = _transformer(tensors, settings, path, options, report)
        elif kind == "recurrent":
            encoder = read_recurrent(tensors, path, report)
        else:
            encoder = read_gated(tensors, settings, path, report)
        heads = read_heads(tensors, encoder, settings, path, options, report)
        report.leave(
            (name for name in tensors if name not in report.mapped and name not in report.unmapped),
            "no part of an encoder or head that Braid has",
        )
        tokenizer = vocabulary(options, _beside(path, "tokenizer.json", "vocab.txt"), encoder.vocab_size, report)
        variant = encoder.variant if isinstance(encoder, OwnEncoder) else variant_of(encoder.hf_config(), str(path))
        return Model(encoder, variant, heads, tokenizer)

    def outputs(self, path: Path) -> list[Path]:
        return [
            path,
            *(_part(path, ending) for ending in ("config.json", "vocab.txt", "tokenizer.json", "label2id.json")),
        ]

    def write(self, model: Model, path: Path, options: Options, report: Report) -> None:
        encoder = model.encoder
        heads, targets = write_heads(model, report)
        if isinstance(encoder, OneWay | TwoWay):
            tensors, settings = write_recurrent(encoder, targets)
        elif isinstance(encoder, GatedCnnEncoder):
            tensors, settings = write_gated(encoder, targets)
        elif isinstance(encoder, PackedEncoder):
            tensors = _encoder_tensors(encoder)
            settings = written_settings(encoder.hf_config(), sizes_of(tensors), targets)
        else:
            raise BraidError(f"UER-py has no encoder like {type(encoder).__name__}")
        tensors |= heads
        settings |= _said_of_heads(tensors)
        if options.exact_norms:
            tensors = {name: _scaled(name, tensor, down=False) for name, tensor in tensors.items()}
            report.notes.append("norms are scaled so that UER-py computes what Braid does")
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, {names_of.written(name): tensor.detach().contiguous().clone() for name, tensor in tensors.items()})
        write_json(_part(path, "config.json"), settings)
        report.written += [str(path), str(_part(path, "config.json"))]
        _write_labels(model, path, report)
        _write_vocabulary(model, path, report)
        # What another model left beside a file of this name would be taken for this one's.
        for old in self.outputs(path):
            if str(old) not in report.written:
                old.unlink(missing_ok=True)


def _said_of_heads(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the config JSON says of the output layer of a language model."""
    word = tensors["embedding.word.embedding.weight"]
    last = [tensors.get(name) for name in ("target.mlm.linear_2.weight", "target.lm.output_layer.weight")]
    tied = all(one is None or torch.equal(one, word) for one in last)
    bias = {"has_lmtarget_bias": True} if "target.lm.output_layer.bias" in tensors else {}
    return {"tie_weights": tied, **bias}


def _part(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}_{ending}")


def _beside(path: Path, *endings: str) -> Path | None:
    """A file that belongs to a `.bin` by its name, as we write them."""
    return next((_part(path, ending) for ending in endings if _part(path, ending).is_file()), None)


def _transformer(
    tensors: dict[str, Tensor], settings: Mapping[str, Any], path: Path, options: Options, report: Report
) -> PackedEncoder:
    config = transformer_config(sizes_of(tensors), settings, path, report, model_type=options.model_type)
    if options.exact_norms:
        key = "layer_norm_epsilon" if config["model_type"] == "gpt2" else "layer_norm_eps"
        config[key] = 1e-12
    roberta = config["model_type"] in ROBERTA_LIKE
    if _SEGMENT in tensors:
        tensors[_SEGMENT] = names_of.segments_read(tensors[_SEGMENT], roberta=roberta)
        config["type_vocab_size"] = len(tensors[_SEGMENT])
    elif config["model_type"] != "gpt2":
        tensors[_SEGMENT] = torch.zeros(2, tensors["embedding.word.embedding.weight"].shape[1])
        report.missing["segments"] = "their vectors are zeros"
    if config["model_type"] == "albert" and "encoder.linear.weight" not in tensors:
        size = tensors["embedding.word.embedding.weight"].shape[1]
        tensors |= {"encoder.linear.weight": torch.eye(size), "encoder.linear.bias": torch.zeros(size)}
        report.missing["encoder.linear"] = "ALBERT's map of embeddings is the identity"
    encoder = skeleton_of(variant_of(config, str(path)), config, path)
    assert isinstance(encoder, PackedEncoder)
    offset = encoder.shape.position_offset
    if offset:
        tensors[_POSITION] = names_of.positions_read(tensors[_POSITION], offset)
    layout = names_of.layout_of(encoder.layout.model_type)
    state = encoder.state_dict()
    wanted = layout.wanted(state, encoder.shape)
    check_sizes(wanted, sizes_of(tensors), path, "the config")
    fill(encoder, layout.from_theirs(tensors, state, encoder.shape))
    report.map(wanted, "encoder")
    return encoder


def _encoder_tensors(encoder: PackedEncoder) -> dict[str, Tensor]:
    """The encoder's weights by UER-py's names. Raises BraidError for an encoder that it does not have."""
    kind, shape = encoder.layout.model_type, encoder.shape
    if kind not in HELD:
        raise BraidError(f"UER-py has no encoder for model_type {kind!r}; it has {', '.join(HELD)}")
    if shape.gated or shape.position_type != "learned" or shape.task_types or shape.groups > 1 or shape.inner > 1:
        raise BraidError("UER-py has no encoder with a gate, these positions, or several groups of shared layers")
    layout = names_of.layout_of("albert" if shape.groups else kind)
    out = layout.to_theirs(dict(encoder.state_dict()), shape)
    if _SEGMENT in out:
        out[_SEGMENT] = names_of.segments_written(out[_SEGMENT])
    if shape.position_offset:
        out[_POSITION] = names_of.positions_written(out[_POSITION], shape.position_offset)
    return out


def _scaled(name: str, tensor: Tensor, *, down: bool) -> Tensor:
    """UER-py's norms divide by the deviation with N - 1 in it, all others by that with N."""
    if not name.endswith(".weight") or "layer_norm" not in name:
        return tensor
    factor = math.sqrt((len(tensor) - 1) / len(tensor))
    return tensor * factor if down else tensor / factor


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(tensors, temporary)
    temporary.replace(path)


def _write_labels(model: Model, path: Path, report: Report) -> None:
    for head in model.heads.values():
        if "labels" in head.spec.facts:
            content = {label: number for number, label in enumerate(head.spec.facts["labels"])}
            write_json(_part(path, "label2id.json"), content)
            report.written.append(str(_part(path, "label2id.json")))
            return


def _write_vocabulary(model: Model, path: Path, report: Report) -> None:
    """vocab.txt where the tokens are a plain list, as UER-py reads it; else tokenizer.json."""
    if model.tokenizer is None:
        return
    lines = token_list(model.tokenizer)
    path = _part(path, "tokenizer.json" if lines is None else "vocab.txt")
    if lines is None:
        lines = model.tokenizer.rust.to_str(pretty=True).encode()
        report.notes.append("this vocabulary is no list of tokens: UER-py needs the model's own files for it")
    write_bytes(path, lines)
    report.written.append(str(path))
