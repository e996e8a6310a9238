"""bert: our own packed BERT, for BERT, RoBERTa, XLM-R, ELECTRA, ALBERT, DistilBERT, ERNIE and MacBERT checkpoints.

Hidden states equal transformers' (fp32, 1e-5); what is saved loads in `AutoModel` again. From scratch it can also be
what transformers has no twin of: pre-LN, other positions, a gated feed-forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from braid.encoders.bert_layouts import LAYOUTS, OWN, layout_of
from braid.encoders.bert_module import BertEncoder
from braid.encoders.layouts import Layout
from braid.encoders.packed import PackedVariant
from braid.nn.transformer import Norm, Positions, Shape


class Bert(PackedVariant):
    """BERT and its relatives, packed: no padding in linear layers."""

    module = BertEncoder

    type: Literal["bert"] = "bert"

    intermediate_size: int | None = Field(default=None, ge=8)
    """Inner size of the feed-forward; None: four times the hidden size, or 8/3 of it (rounded up to a multiple of 64)
    where it is gated, which makes as many weights."""

    embedding_size: int | None = Field(default=None, ge=8)
    """Factorised embeddings of this size (ALBERT); None: the hidden size."""

    share_layers: bool = False
    """All layers share one set of weights (ALBERT)."""

    segments: int = Field(default=2, ge=1)
    """Segments of an encoder from scratch."""

    norm: Norm = "post"
    """From scratch: normalise after each half of a layer (BERT), or before it and once at the end, which trains
    without care (Xiong et al. 2020, arXiv 2002.04745)."""

    positions: Positions = "learned"
    """From scratch: a learned vector for each of `max_positions` (BERT), or, for rows of any length, rotated queries
    and keys (RoFormer, arXiv 2104.09864), biased scores (T5, arXiv 1910.10683), or waves (arXiv 1706.03762)."""

    feed_forward: Literal["plain", "gated"] = "plain"
    """From scratch: with or without a gate (GEGLU, Shazeer 2020, arXiv 2002.05202)."""

    def twin(self) -> bool:
        """Only BERT and ALBERT themselves."""
        return (self.norm, self.positions, self.feed_forward) == ("post", "learned", "plain")

    def scratch_shape(self, layers: int, hidden: int, *, vocab_size: int, pad_id: int) -> Shape:
        embedding, gated = self.embedding_size or hidden, self.feed_forward == "gated"
        # Only ALBERT's layout can hold factorised embeddings or shared layers, and it always maps the embeddings.
        albert = embedding != hidden or self.share_layers
        return Shape(
            vocab_size=vocab_size,
            hidden_size=hidden,
            layers=layers,
            heads=self.heads_of(hidden),
            intermediate_size=self.intermediate_size or (-(-hidden * 8 // 192) * 64 if gated else 4 * hidden),
            embedding_size=embedding,
            positions=self.max_positions,
            position_type=self.positions,
            segments=self.segments,
            pad_id=pad_id,
            activation=self.activation,
            norm=self.norm,
            norm_eps=self.norm_eps,
            gated=gated,
            dropout=0.1 if self.dropout is None else self.dropout,
            attention_dropout=self.attention_dropout,
            groups=(1 if self.share_layers else layers) if albert else 0,
            mapped=albert,
        )

    def scratch_layout(self, shape: Shape) -> Layout:
        return LAYOUTS[OWN if not self.twin() else "albert" if shape.mapped else "bert"]

    def scratch_config(self, shape: Shape, layout: Layout) -> dict[str, Any]:
        names = {"bert": "BertModel", "albert": "AlbertModel", OWN: "BraidBert"}
        config: dict[str, Any] = {
            "architectures": [names[layout.model_type]],
            "model_type": layout.model_type,
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate_size,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.segments,
            "hidden_act": shape.activation,
            "hidden_dropout_prob": shape.dropout,
            "attention_probs_dropout_prob": shape.attention_dropout,
            "layer_norm_eps": shape.norm_eps,
            "initializer_range": self.init_std,
            "pad_token_id": shape.pad_id,
            "torch_dtype": "float32",
        }
        if layout.model_type != "bert":
            config |= {"embedding_size": shape.embedding_size, "num_hidden_groups": shape.groups}
        if layout.model_type == "albert":
            config["inner_group_num"] = shape.inner
        if layout.model_type == OWN:
            config |= {"norm": self.norm, "positions": self.positions, "feed_forward": self.feed_forward}
        return config

    def layout(self, config: Mapping[str, Any], where: str) -> Layout:
        return layout_of(config, where)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny: dict[str, Any] = {
            "hidden_size": 32,
            "layers": 2,
            "heads": 2,
            "intermediate_size": 64,
            "max_positions": 64,
        }
        return [
            tiny,
            {**tiny, "embedding_size": 16},
            {**tiny, "share_layers": True},
            {**tiny, "norm": "pre", "positions": "rotary", "feed_forward": "gated"},
            {**tiny, "positions": "relative", "embedding_size": 16},
            {**tiny, "norm": "pre", "positions": "sinusoidal", "share_layers": True},
        ]
