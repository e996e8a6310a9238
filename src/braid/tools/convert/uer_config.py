"""UER-py's and TencentPretrain's config JSON -> transformers' config.json, and back.

What the tensors say goes before what the settings say; the settings are asked for what tensors cannot tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braid.errors import BraidError
from braid.tools.convert.report import Report

Sizes = Mapping[str, tuple[int, ...]]

ACTIVATIONS = {"gelu": "gelu", "gelu_fast": "gelu_new", "relu": "relu", "silu": "silu"}
"""UER-py's names to transformers'."""

KEPT = "transformers"
"""Key in a config JSON that we write: what transformers' config.json says beyond UER-py's words. UER-py ignores it."""

PLAIN: dict[str, tuple[Any, ...]] = {
    "relative_position_embedding": (False,),
    "relative_attention_buckets_num": (None,),
    "rotary_position_embedding": (False,),
    "remove_attention_scale": (False,),
    "remove_transformer_bias": (False,),
    "remove_mlp_bias": (False,),
    "has_residual_attention": (False,),
    "feed_forward": ("dense",),
    "layernorm": ("normal", "normal_torch"),
    "decoder": (None,),
    "vocab_padding": (None,),
    "use_lora": (False,),
}
"""Settings of its transformers that change what is computed, with the values that Braid's encoders compute."""


def read_settings(path: Path | None) -> dict[str, Any]:
    """A config JSON. Raises BraidError."""
    if path is None:
        return {}
    if not path.is_file():
        raise BraidError(f"--config: there is no file {path.resolve()}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BraidError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(settings, dict):
        raise BraidError(f"{path} holds no mapping")
    return settings


def kind_of(sizes: Sizes, settings: Mapping[str, Any], path: Path) -> str:
    """`transformer`, `recurrent` or `gatedcnn`. Raises BraidError for other encoders."""
    says = str(settings.get("encoder", ""))
    for stem, kind in (
        ("encoder.transformer.", "transformer"),
        ("encoder.rnn", "recurrent"),
        ("encoder.conv_1", "gatedcnn"),
    ):
        if any(name.startswith(stem) for name in sizes):
            return kind
    raise BraidError(
        f"{path}: the encoder{f' ({says})' if says else ''} is none that can be converted; expected tensors named "
        "encoder.transformer.*, encoder.rnn*.* or encoder.conv_1.*"
    )


def transformer_config(
    sizes: Sizes, settings: Mapping[str, Any], path: Path, report: Report, *, model_type: str | None
) -> dict[str, Any]:
    """transformers' config.json of an encoder of attention layers. *model_type*: `bert` or `roberta`, where the user
    says. Raises BraidError naming all settings that Braid's encoders do not compute."""
    _refuse_unknown(sizes, settings, path)
    kept = settings.get(KEPT) if isinstance(settings.get(KEPT), dict) else {}
    assert isinstance(kept, dict)
    word = sizes["embedding.word.embedding.weight"]
    hidden = sizes[_first(sizes, "self_attn.linear_layers.0.weight", path)][0]
    inner = sizes[_first(sizes, "feed_forward.linear_1.weight", path)][0]
    shared = "encoder.transformer.self_attn.final_linear.weight" in sizes
    layers = int(settings.get("layers_num", 12)) if shared else _layers(sizes)
    causal = _causal(sizes, settings)
    albert = shared or "encoder.linear.weight" in sizes
    pre = "encoder.layer_norm.weight" in sizes
    if causal and (not pre or "embedding.layer_norm.weight" in sizes or "embedding.seg.embedding.weight" in sizes):
        raise BraidError(
            f"{path}: a causal encoder that normalises behind its layers or in its embeddings (GPT of 2018) is none of "
            "Braid's; expected layernorm_positioning: pre and remove_embedding_layernorm: true (GPT-2)"
        )
    if "layers_num" in settings and not shared and int(settings["layers_num"]) != layers:
        raise BraidError(f"{path} has {layers} layers, the config says layers_num: {settings['layers_num']}")
    heads = _heads(settings, hidden, report)
    activation = _activation(settings, path)
    positions = sizes["embedding.pos.embedding.weight"][0]
    dropout = float(settings.get("dropout", 0.1))
    if causal:
        made = {
            "model_type": "gpt2",
            "vocab_size": word[0],
            "n_embd": hidden,
            "n_layer": layers,
            "n_head": heads,
            "n_inner": inner,
            "n_positions": positions,
            "activation_function": activation,
            "layer_norm_epsilon": 1e-5,
            **dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), dropout),
        }
        return {**made, **kept, **{key: made[key] for key in ("vocab_size", "n_positions", "n_layer")}}
    kind = model_type or str(kept.get("model_type") or ("albert" if albert else "braid-bert" if pre else "bert"))
    roberta = kind in ("roberta", "xlm-roberta")
    made = {
        "model_type": kind,
        "vocab_size": word[0],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
        "hidden_act": activation,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "layer_norm_eps": 1e-5 if roberta else 1e-12,
        "pad_token_id": 1 if roberta else 0,
    }
    if albert:
        made |= {"embedding_size": word[1], "num_hidden_groups": 1, "inner_group_num": 1}
    if kind == "braid-bert":
        made |= {"embedding_size": word[1], "num_hidden_groups": 1 if shared else 0}
        made |= {"norm": "pre", "positions": "learned", "feed_forward": "plain"}
    return {
        **made,
        **kept,
        **{key: made[key] for key in ("vocab_size", "max_position_embeddings", "num_hidden_layers")},
    }


def written_settings(config: Mapping[str, Any], sizes: Sizes, targets: list[str]) -> dict[str, Any]:
    """The config JSON of an encoder of attention layers."""
    gpt, albert = config["model_type"] == "gpt2", config["model_type"] == "albert"
    hidden = int(config["n_embd"] if gpt else config["hidden_size"])
    activation = str(
        config.get("activation_function" if gpt else "hidden_act", "gelu_new" if gpt or albert else "gelu")
    )
    theirs = {ours: name for name, ours in ACTIVATIONS.items()} | {"gelu_pytorch_tanh": "gelu_fast", "swish": "silu"}
    theirs |= {"gelu_fast": "gelu_fast"}
    if activation not in theirs:
        raise BraidError(f"UER-py has no activation {activation!r}; it has {', '.join(ACTIVATIONS)}")
    word = sizes["embedding.word.embedding.weight"]
    settings: dict[str, Any] = {
        "emb_size": word[1],
        "feedforward_size": sizes[_first(sizes, "feed_forward.linear_1.weight", Path("."))][0],
        "hidden_size": hidden,
        "hidden_act": theirs[activation],
        "heads_num": int(config["n_head"] if gpt else config["num_attention_heads"]),
        "layers_num": int(config["n_layer"] if gpt else config["num_hidden_layers"]),
        "max_seq_length": sizes["embedding.pos.embedding.weight"][0],
        "dropout": float(config.get("resid_pdrop" if gpt else "hidden_dropout_prob", 0.0 if albert else 0.1)),
        "data_processor": "lm" if gpt else "albert" if albert else "bert" if "sp" in targets else "mlm",
        "embedding": ["word", "pos"] if gpt else ["word", "pos", "seg"],
        "encoder": "transformer",
        "mask": "causal" if gpt else "fully_visible",
        "target": targets or (["lm"] if gpt else ["mlm"]),
    }
    if gpt:
        settings |= {"remove_embedding_layernorm": True, "layernorm_positioning": "pre"}
    elif "encoder.layer_norm.weight" in sizes:
        settings["layernorm_positioning"] = "pre"
    if albert:
        settings |= {"factorized_embedding_parameterization": True, "parameter_sharing": True}
    return {**settings, KEPT: dict(config)}


def _refuse_unknown(sizes: Sizes, settings: Mapping[str, Any], path: Path) -> None:
    wrong = [
        f"{key}: {settings[key]!r}, expected {' or '.join(map(repr, allowed))}"
        for key, allowed in PLAIN.items()
        if key in settings and settings[key] not in allowed
    ]
    kinds = settings.get("embedding")
    kinds = (
        kinds.replace("word_pos_seg", "word pos seg").replace("word_pos", "word pos").split()
        if isinstance(kinds, str)
        else kinds
    )
    if isinstance(kinds, list) and not set(kinds) <= {"word", "pos", "seg"}:
        wrong.append(f"embedding: {kinds!r}, expected word, pos and seg")
    if any("linear_gate" in name for name in sizes):
        wrong.append("a gated feed-forward (linear_gate), expected a plain one")
    for needed in ("embedding.word.embedding.weight", "embedding.pos.embedding.weight"):
        if needed not in sizes:
            wrong.append(f"{needed} is missing")
    if wrong:
        raise BraidError("\n    ".join([f"{path}: an encoder that Braid does not compute:", *wrong]))


def _first(sizes: Sizes, ending: str, path: Path) -> str:
    for name in sizes:
        if name.startswith("encoder.transformer.") and name.endswith(ending):
            return name
    raise BraidError(f"{path}: no tensor encoder.transformer.*.{ending}; the file is not whole")


def _layers(sizes: Sizes) -> int:
    numbers = {int(match[1]) for name in sizes if (match := re.match(r"encoder\.transformer\.(\d+)\.", name))}
    return max(numbers) + 1


def _causal(sizes: Sizes, settings: Mapping[str, Any]) -> bool:
    """Whether a token sees what stands before it only: as the settings say, else as the target tells."""
    if "mask" in settings:
        return bool(settings["mask"] == "causal")
    return settings.get("target") in ("lm", ["lm"]) or "target.lm.output_layer.weight" in sizes


def _heads(settings: Mapping[str, Any], hidden: int, report: Report) -> int:
    if "heads_num" in settings:
        return int(settings["heads_num"])
    report.missing["heads_num"] = (
        f"taken for {max(1, hidden // 64)}, heads of 64; a config JSON (--config) would say it"
    )
    return max(1, hidden // 64)


def _activation(settings: Mapping[str, Any], path: Path) -> str:
    name = settings.get("hidden_act", "gelu")
    if name not in ACTIVATIONS:
        raise BraidError(f"{path}: hidden_act {name!r}, expected {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
