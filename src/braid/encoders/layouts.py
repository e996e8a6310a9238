"""transformers' names and settings for BERT's relatives, as reversible rules: one table serves import and export.

Our names are on the left. `{i}` is a layer; ours are numbered through, ALBERT's are `{g}` group and `{j}` inner layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from braid.errors import BraidError
from braid.nn.transformer import ACTIVATIONS, Shape

Rules = dict[str, str | tuple[str, ...]]

_EMBEDDINGS: Rules = {
    "embeddings.word.weight": "embeddings.word_embeddings.weight",
    "embeddings.position.weight": "embeddings.position_embeddings.weight",
    "embeddings.segment.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.task.weight": "embeddings.task_type_embeddings.weight",
    "embeddings.norm": "embeddings.LayerNorm",
}
_BERT: Rules = {
    **_EMBEDDINGS,
    "embeddings.project": "embeddings_project",
    "layers.{i}.qkv": (
        "encoder.layer.{i}.attention.self.query",
        "encoder.layer.{i}.attention.self.key",
        "encoder.layer.{i}.attention.self.value",
    ),
    "layers.{i}.attention_output": "encoder.layer.{i}.attention.output.dense",
    "layers.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "layers.{i}.intermediate": "encoder.layer.{i}.intermediate.dense",
    "layers.{i}.output": "encoder.layer.{i}.output.dense",
    "layers.{i}.output_norm": "encoder.layer.{i}.output.LayerNorm",
}
_ALBERT_LAYER = "encoder.albert_layer_groups.{g}.albert_layers.{j}"
_ALBERT: Rules = {
    **_EMBEDDINGS,
    "embeddings.project": "encoder.embedding_hidden_mapping_in",
    "layers.{i}.qkv": (
        f"{_ALBERT_LAYER}.attention.query",
        f"{_ALBERT_LAYER}.attention.key",
        f"{_ALBERT_LAYER}.attention.value",
    ),
    "layers.{i}.attention_output": f"{_ALBERT_LAYER}.attention.dense",
    "layers.{i}.attention_norm": f"{_ALBERT_LAYER}.attention.LayerNorm",
    "layers.{i}.intermediate": f"{_ALBERT_LAYER}.ffn",
    "layers.{i}.output": f"{_ALBERT_LAYER}.ffn_output",
    "layers.{i}.output_norm": f"{_ALBERT_LAYER}.full_layer_layer_norm",
}
_DISTILBERT: Rules = {
    **_EMBEDDINGS,
    "layers.{i}.qkv": (
        "transformer.layer.{i}.attention.q_lin",
        "transformer.layer.{i}.attention.k_lin",
        "transformer.layer.{i}.attention.v_lin",
    ),
    "layers.{i}.attention_output": "transformer.layer.{i}.attention.out_lin",
    "layers.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
    "layers.{i}.intermediate": "transformer.layer.{i}.ffn.lin1",
    "layers.{i}.output": "transformer.layer.{i}.ffn.lin2",
    "layers.{i}.output_norm": "transformer.layer.{i}.output_layer_norm",
}


@dataclass(frozen=True)
class Layout:
    """How one `model_type` of transformers names its weights and settings."""

    model_type: str
    prefix: str
    names: Mapping[str, str | tuple[str, ...]]
    shape: Callable[[Mapping[str, Any]], Shape]

    def to_theirs(self, state: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
        """Our state dict under transformers' names."""
        out: dict[str, Tensor] = {}
        for name, tensor in state.items():
            theirs = self._theirs(name, shape)
            out.update(zip(theirs, tensor.chunk(len(theirs)), strict=True))
        return out

    def from_theirs(self, state: Mapping[str, Tensor], names: list[str], shape: Shape) -> dict[str, Tensor]:
        """Tensors for our names out of a checkpoint's. Raises KeyError for what is not there."""
        out = {}
        for name in names:
            parts = [state[theirs] for theirs in self._theirs(name, shape)]
            out[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out

    def wanted(self, names: list[str], shape: Shape) -> Iterator[tuple[str, str, int]]:
        """(our name, their name, number of their tensors that make ours) for every parameter."""
        for name in names:
            theirs = self._theirs(name, shape)
            for part in theirs:
                yield name, part, len(theirs)

    def _theirs(self, name: str, shape: Shape) -> tuple[str, ...]:
        match = re.fullmatch(r"(layers)\.(\d+)\.(\w+)\.(weight|bias)", name)
        if match:
            number = int(match[2])
            rule = self.names[f"layers.{{i}}.{match[3]}"]
            g, j = divmod(number, shape.inner)
            rules = (rule,) if isinstance(rule, str) else rule
            return tuple(f"{one.format(i=number, g=g, j=j)}.{match[4]}" for one in rules)
        if name in self.names:
            return (str(self.names[name]),)
        stem, _, kind = name.rpartition(".")
        return (f"{self.names[stem]}.{kind}",)


def _bert_shape(config: Mapping[str, Any]) -> Shape:
    hidden, kind = int(config["hidden_size"]), config["model_type"]
    embedding = int(config.get("embedding_size") or hidden) if kind in ("electra", "albert") else hidden
    given = config.get("pad_token_id")
    # transformers' own default, which a config.json may leave out; RoBERTa's positions begin after it.
    pad = int(given) if given is not None else 1 if kind in ROBERTA_LIKE else 0
    albert = kind == "albert"
    return Shape(
        vocab_size=int(config["vocab_size"]),
        hidden_size=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        intermediate_size=int(config["intermediate_size"]),
        embedding_size=embedding,
        positions=int(config["max_position_embeddings"]),
        segments=int(config.get("type_vocab_size", 2)),
        task_types=int(config.get("task_type_vocab_size", 3)) if kind == "ernie" and config.get("use_task_id") else 0,
        position_offset=pad + 1 if kind in ROBERTA_LIKE else 0,
        pad_id=pad,
        activation=_activation(config.get("hidden_act", "gelu_new" if albert else "gelu")),
        norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        dropout=float(config.get("hidden_dropout_prob", 0.0 if albert else 0.1)),
        attention_dropout=float(config.get("attention_probs_dropout_prob", 0.0 if albert else 0.1)),
        groups=int(config.get("num_hidden_groups", 1)) if albert else 0,
        inner=int(config.get("inner_group_num", 1)) if albert else 1,
        mapped=albert or (kind == "electra" and embedding != hidden),
    )


def _distilbert_shape(config: Mapping[str, Any]) -> Shape:
    return Shape(
        vocab_size=int(config["vocab_size"]),
        hidden_size=int(config["dim"]),
        layers=int(config["n_layers"]),
        heads=int(config["n_heads"]),
        intermediate_size=int(config["hidden_dim"]),
        embedding_size=int(config["dim"]),
        positions=int(config["max_position_embeddings"]),
        segments=0,
        pad_id=int(config.get("pad_token_id") or 0),
        activation=_activation(config.get("activation", "gelu")),
        dropout=float(config.get("dropout", 0.1)),
        attention_dropout=float(config.get("attention_dropout", 0.1)),
    )


def _activation(name: Any) -> str:
    if name not in ACTIVATIONS:
        raise BraidError(f"the activation {name!r} is not known; use `encoder: {{type: hf}}` for this model")
    return str(name)


ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")

LAYOUTS = {
    layout.model_type: layout
    for layout in (
        Layout("bert", "bert.", _BERT, _bert_shape),
        Layout("roberta", "roberta.", _BERT, _bert_shape),
        Layout("xlm-roberta", "roberta.", _BERT, _bert_shape),
        Layout("camembert", "roberta.", _BERT, _bert_shape),
        Layout("electra", "electra.", _BERT, _bert_shape),
        Layout("ernie", "ernie.", _BERT, _bert_shape),
        Layout("albert", "albert.", _ALBERT, _bert_shape),
        Layout("distilbert", "distilbert.", _DISTILBERT, _distilbert_shape),
    )
}
"""By transformers' `model_type`. MacBERT and the Chinese whole-word models are `bert`."""


def layout_of(config: Mapping[str, Any], where: str) -> Layout:
    """The layout of a config.json. Raises BraidError for what this encoder does not compute."""
    kind = config.get("model_type")
    if kind not in LAYOUTS:
        raise BraidError(
            f"{where}: model_type {kind!r} is none of {', '.join(LAYOUTS)}; use `encoder: {{type: hf}}` for it"
        )
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise BraidError(f"{where}: relative positions and decoders need `encoder: {{type: hf}}`")
    return LAYOUTS[kind]
