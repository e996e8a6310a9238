"""gpt: our own packed GPT-2. A token sees what stands before it, so that the encoder can also write on.

Hidden states equal transformers' (fp32, 1e-5); what is saved loads in `AutoModel` again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from braid.encoders.gpt_module import GptEncoder
from braid.encoders.layouts import Layout, Rules, known_activation
from braid.encoders.packed import PackedVariant
from braid.errors import BraidError
from braid.nn.transformer import Shape

_NAMES: Rules = {
    "word": "wte",
    "position": "wpe",
    "layers.{i}.attention_norm": "h.{i}.ln_1",
    "layers.{i}.qkv": "h.{i}.attn.c_attn",
    "layers.{i}.attention_output": "h.{i}.attn.c_proj",
    "layers.{i}.output_norm": "h.{i}.ln_2",
    "layers.{i}.intermediate": "h.{i}.mlp.c_fc",
    "layers.{i}.output": "h.{i}.mlp.c_proj",
    "final_norm": "ln_f",
}


def _shape(config: Mapping[str, Any]) -> Shape:
    hidden, inner = int(config["n_embd"]), config.get("n_inner")
    return Shape(
        vocab_size=int(config["vocab_size"]),
        hidden_size=hidden,
        layers=int(config["n_layer"]),
        heads=int(config["n_head"]),
        intermediate_size=4 * hidden if inner is None else int(inner),
        embedding_size=hidden,
        positions=int(config["n_positions"]),
        segments=0,
        activation=known_activation(config.get("activation_function", "gelu_new")),
        norm="pre",
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        dropout=float(config.get("resid_pdrop", 0.1)),
        attention_dropout=float(config.get("attn_pdrop", 0.1)),
    )


LAYOUT = Layout("gpt2", "transformer.", _NAMES, _shape, turned=True)


class Gpt(PackedVariant):
    """GPT-2, packed: a token sees what stands before it (causal)."""

    module = GptEncoder

    type: Literal["gpt"] = "gpt"

    max_positions: int = Field(default=1024, ge=8)
    """Positions of an encoder from scratch."""

    activation: str = "gelu_new"
    """Activation of an encoder from scratch."""

    norm_eps: float = Field(default=1e-5, gt=0)
    """Epsilon of the norms of an encoder from scratch."""

    def scratch_shape(self, layers: int, hidden: int, *, vocab_size: int, pad_id: int) -> Shape:
        return Shape(
            vocab_size=vocab_size,
            hidden_size=hidden,
            layers=layers,
            heads=self.heads_of(hidden),
            intermediate_size=self.intermediate_size or 4 * hidden,
            embedding_size=hidden,
            positions=self.max_positions,
            segments=0,
            pad_id=pad_id,
            activation=self.activation,
            norm="pre",
            norm_eps=self.norm_eps,
            dropout=0.1 if self.dropout is None else self.dropout,
            attention_dropout=self.attention_dropout,
        )

    def scratch_layout(self, shape: Shape) -> Layout:
        return LAYOUT

    def scratch_config(self, shape: Shape, layout: Layout) -> dict[str, Any]:
        return {
            "architectures": ["GPT2Model"],
            "model_type": layout.model_type,
            "vocab_size": shape.vocab_size,
            "n_embd": shape.hidden_size,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_inner": shape.intermediate_size,
            "n_positions": shape.positions,
            "activation_function": shape.activation,
            "embd_pdrop": shape.dropout,
            "resid_pdrop": shape.dropout,
            "attn_pdrop": shape.attention_dropout,
            "layer_norm_epsilon": shape.norm_eps,
            "initializer_range": self.init_std,
            "pad_token_id": shape.pad_id,
            # transformers' own defaults are ids of GPT-2's vocabulary.
            "bos_token_id": None,
            "eos_token_id": None,
            "torch_dtype": "float32",
        }

    def layout(self, config: Mapping[str, Any], where: str) -> Layout:
        if config.get("model_type") != LAYOUT.model_type:
            raise BraidError(
                f"{where}: model_type {config.get('model_type')!r} is not {LAYOUT.model_type}; use `encoder: "
                "{type: hf}` for it"
            )
        scaled = not config.get("scale_attn_weights", True) or config.get("scale_attn_by_inverse_layer_idx")
        if scaled or config.get("add_cross_attention"):
            raise BraidError(f"{where}: other scales of attention and cross-attention need `encoder: {{type: hf}}`")
        return LAYOUT

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "max_positions": 64}
        return [tiny, {**tiny, "intermediate_size": 48, "activation": "relu", "dropout": 0.0}]
