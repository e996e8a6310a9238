"""attn: self-attention alone, without the feed-forward layers of a transformer.

Shape legend: T tokens, D hidden size, H heads, E size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.own import MAX_SIZE, OwnEncoder, OwnVariant
from braid.errors import BraidError
from braid.nn.attention import attend
from braid.nn.dropout import Dropout
from braid.nn.embeddings import EmbeddingKind
from braid.nn.linear import Linear


class Attn(OwnVariant):
    """Layers of self-attention, each added to what comes in and normalised."""

    type: Literal["attn"] = "attn"

    embedding: EmbeddingKind = "word_position_segment"
    """What tokens become at first: a vector for each word, with its position and segment (BERT), or with waves."""

    heads: int | None = Field(default=None, ge=1, le=MAX_SIZE)
    """Attention heads. None: hidden size / 64."""

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        if self.hidden_size % self.n_heads:
            raise BraidError(f"encoder.heads: {self.n_heads} heads do not divide the hidden size {self.hidden_size}")
        return AttnEncoder(self, vocab_size, pad_id)

    @property
    def n_heads(self) -> int:
        """Attention heads."""
        return self.heads or max(1, self.hidden_size // 64)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny = {"hidden_size": 32, "layers": 2, "heads": 2}
        return [{**tiny, "max_positions": 64}, {**tiny, "embedding": "sinusoidal"}]


class AttnLayer(nn.Module):
    """Attention, its output layer, dropout, sum, norm."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.output = Linear(size, 3 * size), Linear(size, size)
        self.norm, self.dropout = nn.LayerNorm(size), Dropout(dropout)

    def forward(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """*Shape*: [T, D] -> [T, D]."""
        qkv_T3HE = self.qkv(hidden_TD).view(hidden_TD.shape[0], 3, self.heads, -1)
        out: Tensor = self.norm(hidden_TD + self.dropout(self.output(attend(qkv_T3HE, batch).flatten(1))))
        return out


class AttnEncoder(OwnEncoder):
    """Layers of attention."""

    traceable = True

    def __init__(self, variant: Attn, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.layers = nn.ModuleList(AttnLayer(size, variant.n_heads, variant.rate) for _ in range(variant.layers))

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        hidden_TD = self.embedded(batch)
        outputs = [hidden_TD]
        for layer in self.layers:
            hidden_TD = layer(hidden_TD, batch)
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)
