"""transformers' names and settings for BERT's relatives, and ours for what has no relative there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from braid.encoders.layouts import Layout, Rules, known_activation
from braid.errors import BraidError
from braid.nn.transformer import Norm, Positions, Shape

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
_OWN: Rules = {**_BERT, "final_norm": "encoder.final_norm", "relative.table": "encoder.relative_bias"}
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
        activation=known_activation(config.get("hidden_act", "gelu_new" if albert else "gelu")),
        norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        dropout=float(config.get("hidden_dropout_prob", 0.0 if albert else 0.1)),
        attention_dropout=float(config.get("attention_probs_dropout_prob", 0.0 if albert else 0.1)),
        groups=int(config.get("num_hidden_groups", 1)) if albert else 0,
        inner=int(config.get("inner_group_num", 1)) if albert else 1,
        mapped=albert or (kind == "electra" and embedding != hidden),
    )


def _own_shape(config: Mapping[str, Any]) -> Shape:
    shape = _bert_shape(config)
    embedding, groups = int(config.get("embedding_size") or shape.hidden_size), int(config.get("num_hidden_groups", 0))
    return replace(
        shape,
        embedding_size=embedding,
        groups=groups,
        mapped=groups > 0 or embedding != shape.hidden_size,
        norm=_chosen(config, "norm", get_args(Norm)),
        position_type=_chosen(config, "positions", get_args(Positions)),
        gated=_chosen(config, "feed_forward", ("plain", "gated")) == "gated",
    )


def _chosen(config: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    if config[key] not in allowed:
        raise ValueError(f"{key} {config[key]!r}, none of {', '.join(allowed)}")
    return config[key]


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
        activation=known_activation(config.get("activation", "gelu")),
        dropout=float(config.get("dropout", 0.1)),
        attention_dropout=float(config.get("attention_dropout", 0.1)),
    )


OWN = "braid-bert"
"""Our `model_type` for what transformers' BERT and ALBERT do not compute: other norms, positions, feed-forwards."""

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
        Layout(OWN, "bert.", _OWN, _own_shape),
    )
}
"""By transformers' `model_type`. MacBERT and the Chinese whole-word models are `bert`."""


def layout_of(config: Mapping[str, Any], where: str) -> Layout:
    """The layout of a config.json. Raises BraidError for what this encoder does not compute."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in LAYOUTS:
        raise BraidError(
            f"{where}: model_type {kind!r} is none of {', '.join(LAYOUTS)}; use `encoder: {{type: hf}}` for it"
        )
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise BraidError(f"{where}: relative positions and decoders need `encoder: {{type: hf}}`")
    return LAYOUTS[kind]
