"""The embeddings of UER-py's recurrent and convolutional encoders, and what hangs on their size.

Its first layer reads vectors of the embedding size. Ours reads the hidden size, to which a linear layer maps the
embeddings where the sizes differ. A map that only appends zeros makes both compute the same, number for number.

Shape legend: M embedding size, D hidden size, G outputs of a layer's gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from braid.encoders.own import OwnEncoder
from braid.errors import BraidError
from braid.tools.convert.report import Report
from braid.tools.convert.uer_names import segments_read, segments_written

_NAMES = {
    "word.weight": "embedding.word.embedding.weight",
    "position.weight": "embedding.pos.embedding.weight",
    "segment.weight": "embedding.seg.embedding.weight",
    "norm.weight": "embedding.layer_norm.weight",
    "norm.bias": "embedding.layer_norm.bias",
}


def options_of(tensors: Mapping[str, Tensor], hidden: int, path: Path) -> dict[str, Any]:
    """What our encoder's options are for these embeddings. Raises BraidError where none makes the same vectors."""
    word = tensors.get("embedding.word.embedding.weight")
    if word is None:
        raise BraidError(f"{path}: embedding.word.embedding.weight is missing; the file is not whole")
    size = word.shape[1]
    if size > hidden:
        raise BraidError(f"{path}: embeddings of {size} for a hidden size of {hidden}; expected no more than that")
    extra = sorted(name for name in tensors if name.startswith("embedding.") and name not in _NAMES.values())
    has = {name for name in _NAMES.values() if name in tensors}
    bare, full = {_NAMES["word.weight"]}, set(_NAMES.values())
    if extra or (has != bare and has | {_NAMES["segment.weight"]} != full):
        raise BraidError(
            f"{path}: embeddings of {', '.join(sorted(has) + extra)}; expected words alone without a norm "
            "(remove_embedding_layernorm: true), or words and positions (and segments) with a norm"
        )
    options: dict[str, Any] = {"embedding_size": size}
    if has != bare:
        options |= {"embedding": "word_position_segment", "max_positions": tensors[_NAMES["position.weight"]].shape[0]}
    return options


def read_embeddings(tensors: Mapping[str, Tensor], hidden: int, report: Report) -> dict[str, Tensor]:
    """Our encoder's embeddings."""
    out = {f"embeddings.{ours}": tensors[theirs] for ours, theirs in _NAMES.items() if theirs in tensors}
    size = out["embeddings.word.weight"].shape[1]
    if "embeddings.segment.weight" in out:
        out["embeddings.segment.weight"] = segments_read(out["embeddings.segment.weight"], roberta=False)
    elif "embeddings.position.weight" in out:
        out["embeddings.segment.weight"] = torch.zeros(2, size)
        report.missing["segments"] = "their vectors are zeros"
    if size != hidden:
        out |= {"embeddings.project.weight": torch.eye(hidden, size), "embeddings.project.bias": torch.zeros(hidden)}
    report.map((name for name in tensors if name.startswith("embedding.")), "encoder")
    return out


def widened(weight: Tensor, hidden: int) -> Tensor:
    """[..., M] -> [..., D]: a first layer that reads embeddings with zeros behind them."""
    return F.pad(weight, (0, hidden - weight.shape[-1]))


def write_embeddings(encoder: OwnEncoder) -> dict[str, Tensor]:
    """UER-py's embeddings. Raises BraidError for waves, which it scales otherwise."""
    embeddings = encoder.embeddings
    if embeddings.kind == "sinusoidal":
        raise BraidError("embeddings with waves cannot be written for UER-py")
    state = embeddings.state_dict()
    out = {theirs: state[ours] for ours, theirs in _NAMES.items() if ours in state}
    if "segment.weight" in state:
        out[_NAMES["segment.weight"]] = segments_written(state["segment.weight"])
    return out


def narrowed(encoder: OwnEncoder, weight_GD: Tensor, bias_G: Tensor) -> tuple[Tensor, Tensor]:
    """A first layer [G, D], [G] as one that reads embeddings [G, M], [G]: with the map from one to the other in it."""
    project = encoder.embeddings.project
    if project is None:
        return weight_GD, bias_G
    size = project.weight.shape[1]
    plain = torch.equal(project.weight, torch.eye(len(project.weight), size)) and not project.bias.any()
    if plain:
        return weight_GD[:, :size].contiguous(), bias_G
    return weight_GD @ project.weight, bias_G + weight_GD @ project.bias


def settings_of(encoder: OwnEncoder, kind: str, target: list[str]) -> dict[str, Any]:
    """The config JSON, as far as all these encoders have it in common."""
    variant = encoder.variant
    words = variant.embedding == "word"
    return {
        "emb_size": encoder.word_embeddings.shape[1],
        "hidden_size": encoder.hidden_size,
        "layers_num": encoder.n_layers,
        "max_seq_length": variant.max_positions,
        "dropout": variant.rate,
        "data_processor": "bilm" if "bilm" in target else "lm",
        "embedding": ["word"] if words else ["word", "pos", "seg"],
        **({"remove_embedding_layernorm": True} if words else {}),
        "encoder": kind,
        "target": target or (["bilm"] if encoder.sees == "apart" else ["lm"]),
    }
