"""modernbert: our own packed ModernBERT, for rows of thousands of tokens.

Hidden states equal transformers' (fp32, 1e-5); what is saved loads in `AutoModel` again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from braid.encoders.layouts import Layout, Rules, known_activation
from braid.encoders.modernbert_module import ModernBertEncoder, ModernBertShape
from braid.encoders.packed import PackedVariant
from braid.encoders.sizes import MAX_LAYERS, MAX_SIZE, SHAPES
from braid.errors import BraidError
from braid.nn.transformer import Shape

_NAMES: Rules = {
    "word": "embeddings.tok_embeddings",
    "norm": "embeddings.norm",
    "layers.{i}.attention_norm": "layers.{i}.attn_norm",
    "layers.{i}.qkv": "layers.{i}.attn.Wqkv",
    "layers.{i}.attention_output": "layers.{i}.attn.Wo",
    "layers.{i}.output_norm": "layers.{i}.mlp_norm",
    "layers.{i}.intermediate": "layers.{i}.mlp.Wi",
    "layers.{i}.output": "layers.{i}.mlp.Wo",
    "final_norm": "final_norm",
}
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
THETAS = (160_000.0, 10_000.0)
"""Bases of the rotary angles of global and of local layers."""


def _shape(config: Mapping[str, Any]) -> ModernBertShape:
    hidden = int(config["hidden_size"])
    window = int(config.get("local_attention", 128))
    if not 1 <= window <= MAX_SIZE:
        raise ValueError(f"local_attention {window}")
    return ModernBertShape(
        vocab_size=int(config["vocab_size"]),
        hidden_size=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        intermediate_size=int(config["intermediate_size"]),
        embedding_size=hidden,
        positions=int(config.get("max_position_embeddings", 8192)),
        position_type="rotary",
        segments=0,
        pad_id=int(config.get("pad_token_id") or 0),
        activation=known_activation(config.get("hidden_activation", "gelu")),
        norm="pre",
        norm_eps=float(config.get("norm_eps", 1e-5)),
        norm_bias=bool(config.get("norm_bias", False)),
        gated=True,
        attention_bias=bool(config.get("attention_bias", False)),
        feed_forward_bias=bool(config.get("mlp_bias", False)),
        dropout=float(config.get("mlp_dropout", 0.0)),
        attention_dropout=float(config.get("attention_dropout", 0.0)),
        window=window,
        thetas=(_theta(config, _GLOBAL), _theta(config, _LOCAL)),
        local=_local(config),
    )


def _local(config: Mapping[str, Any]) -> tuple[bool, ...]:
    """Which layers are local: a list of all layers, or, in older files, every so many a global one."""
    kinds = config.get("layer_types")
    if kinds is None:
        return _pattern(int(config.get("global_attn_every_n_layers", 3)))
    if len(kinds) != int(config["num_hidden_layers"]) or not set(kinds) <= {_GLOBAL, _LOCAL}:
        raise ValueError(f"layer_types are not one of {_GLOBAL}, {_LOCAL} for each layer")
    return tuple(kind == _LOCAL for kind in kinds)


def _pattern(every: int) -> tuple[bool, ...]:
    if not 1 <= every <= MAX_LAYERS:
        raise ValueError(f"global_attn_every_n_layers {every}")
    return tuple(number > 0 for number in range(every))


def _theta(config: Mapping[str, Any], kind: str) -> float:
    """The base of a kind of layers' rotary angles, in the spelling of transformers 5 or an older one."""
    key, default = ("global_rope_theta", THETAS[0]) if kind == _GLOBAL else ("local_rope_theta", THETAS[1])
    rope = (config.get("rope_parameters") or {}).get(kind) or {}
    scaled = rope.get("rope_type", "default") != "default" or config.get("rope_scaling")
    if scaled:
        raise BraidError("scaled rotary positions need `encoder: {type: hf}`")
    theta = float(rope.get("rope_theta") or config.get(key) or default)
    if not 0 < theta < math.inf:
        raise ValueError(f"{key} {theta}")
    return theta


LAYOUT = Layout("modernbert", "model.", _NAMES, _shape)


class ModernBert(PackedVariant):
    """ModernBERT, packed: rotary positions, local and global attention, gated feed-forward, for long rows."""

    module = ModernBertEncoder
    shapes: ClassVar[Mapping[str, tuple[int, int]]] = {**SHAPES, "base": (22, 768), "large": (28, 1024)}

    type: Literal["modernbert"] = "modernbert"

    intermediate_size: int | None = Field(default=None, ge=8)
    """Inner size of the feed-forward; None: 3/2 of the hidden size, for `large` 2624."""

    max_positions: int = Field(default=8192, ge=8)
    """Longest row of an encoder from scratch."""

    norm_eps: float = Field(default=1e-5, gt=0)
    """Epsilon of the norms of an encoder from scratch."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of hidden states; None: the checkpoint's, or 0."""

    global_every: int = Field(default=3, ge=1, le=MAX_LAYERS)
    """From scratch: the first of every so many layers sees whole rows, the others see nearby."""

    window: int = Field(default=128, ge=2)
    """From scratch: a local layer sees half as many tokens to either side."""

    global_theta: float = Field(default=THETAS[0], gt=0)
    """From scratch: base of the rotary angles of global layers."""

    local_theta: float = Field(default=THETAS[1], gt=0)
    """From scratch: base of the rotary angles of local layers."""

    def scratch_shape(self, layers: int, hidden: int, *, vocab_size: int, pad_id: int) -> Shape:
        inner = 2624 if self.shape == "large" and hidden == 1024 else hidden * 3 // 2
        return ModernBertShape(
            vocab_size=vocab_size,
            hidden_size=hidden,
            layers=layers,
            heads=self.heads_of(hidden),
            intermediate_size=self.intermediate_size or inner,
            embedding_size=hidden,
            positions=self.max_positions,
            position_type="rotary",
            segments=0,
            pad_id=pad_id,
            activation=self.activation,
            norm="pre",
            norm_eps=self.norm_eps,
            norm_bias=False,
            gated=True,
            attention_bias=False,
            feed_forward_bias=False,
            dropout=self.dropout or 0.0,
            attention_dropout=self.attention_dropout,
            window=self.window,
            thetas=(self.global_theta, self.local_theta),
            local=_pattern(self.global_every),
        )

    def scratch_layout(self, shape: Shape) -> Layout:
        return LAYOUT

    def scratch_config(self, shape: Shape, layout: Layout) -> dict[str, Any]:
        return {
            "architectures": ["ModernBertModel"],
            "model_type": layout.model_type,
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.positions,
            "hidden_activation": shape.activation,
            "norm_eps": shape.norm_eps,
            "embedding_dropout": shape.dropout,
            "mlp_dropout": shape.dropout,
            "attention_dropout": shape.attention_dropout,
            "initializer_range": self.init_std,
            "local_attention": self.window,
            # The spelling of published files, which transformers 4 and 5 both read.
            "global_attn_every_n_layers": self.global_every,
            "global_rope_theta": self.global_theta,
            "local_rope_theta": self.local_theta,
            **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias"), False),
            "pad_token_id": shape.pad_id,
            # transformers' own defaults are ids of ModernBERT's vocabulary.
            **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
            "torch_dtype": "float32",
        }

    def layout(self, config: Mapping[str, Any], where: str) -> Layout:
        if config.get("model_type") != LAYOUT.model_type:
            raise BraidError(
                f"{where}: model_type {config.get('model_type')!r} is not {LAYOUT.model_type}; use `encoder: "
                "{type: hf}` for it"
            )
        return LAYOUT

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny: dict[str, Any] = {"hidden_size": 32, "layers": 4, "heads": 2, "max_positions": 64}
        return [tiny, {**tiny, "global_every": 2, "window": 2, "local_theta": 500.0, "intermediate_size": 40}]
