"""synt: the Synthesizer, attention whose weights are not products of tokens (Tay et al. 2020, arXiv 2005.00743).

Shape legend: T tokens, D hidden size, H heads, E size of a head, P positions, b rows of a block, L its longest row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import AttentionBlock, Batch
from braid.encoders.own import MAX_SIZE, OwnEncoder, OwnVariant
from braid.errors import BraidError
from braid.nn.attention import attend
from braid.nn.dropout import Dropout
from braid.nn.embeddings import EmbeddingKind
from braid.nn.linear import Linear


class Synt(OwnVariant):
    """Layers of synthesised attention and feed-forward, each added to what comes in and normalised."""

    type: Literal["synt"] = "synt"

    embedding: EmbeddingKind = "word_position_segment"
    """What tokens become at first: a vector for each word, with its position and segment (BERT), or with waves."""

    weights: Literal["dense", "random"] = "dense"
    """`dense`: each token says by itself how much it looks at each position. `random`: that is learned for each pair of
    positions, whatever stands there."""

    heads: int | None = Field(default=None, ge=1, le=MAX_SIZE)
    """Attention heads. None: hidden size / 64."""

    intermediate_size: int | None = Field(default=None, ge=2, le=4 * MAX_SIZE)
    """Inner size of the feed-forward. None: four times the hidden size."""

    max_positions: int = Field(default=128, ge=8, le=4096)
    """Longest row: there are weights for each position."""

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        if self.hidden_size % self.n_heads:
            raise BraidError(f"encoder.heads: {self.n_heads} heads do not divide the hidden size {self.hidden_size}")
        return SyntEncoder(self, vocab_size, pad_id)

    @property
    def n_heads(self) -> int:
        """Attention heads."""
        return self.heads or max(1, self.hidden_size // 64)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_positions": 64}
        return [tiny, {**tiny, "weights": "random", "embedding": "word"}]


class Synthesised(nn.Module):
    """The scores of one layer: [b or 1, H, L, L] for each block of rows, minus infinity where no token is."""

    def __init__(self, kind: str, hidden_size: int, heads: int, positions: int) -> None:
        super().__init__()
        self.heads, self.positions = heads, positions
        dense = kind == "dense"
        self.first = Linear(hidden_size, hidden_size) if dense else None
        self.second = Linear(hidden_size // heads, positions) if dense else None
        table = torch.empty(heads, positions, positions)
        self.table_HPP = None if dense else nn.Parameter(nn.init.xavier_uniform_(table))

    def forward(self, hidden_TD: Tensor, batch: Batch) -> list[Tensor]:
        """*hidden* [T, D]."""
        scores_TPH = None
        if self.first is not None and self.second is not None:
            inner_THE = F.relu(self.first(hidden_TD)).view(len(hidden_TD), self.heads, -1)
            scores_TPH = self.second(inner_THE).transpose(1, 2).float()
        return [self._block(scores_TPH, block) for block in batch.blocks]

    def _block(self, scores_TPH: Tensor | None, block: AttentionBlock) -> Tensor:
        longest = block.longest
        if scores_TPH is None:
            assert self.table_HPP is not None
            scores = self.table_HPP[None, :, :longest, :longest].float()
        else:
            flat = scores_TPH.new_zeros(block.rows * longest, longest, self.heads)
            flat = flat.index_copy(0, block.places, scores_TPH[block.tokens, :longest])
            scores = flat.view(block.rows, longest, longest, self.heads).permute(0, 3, 1, 2)
        if block.keep is None:
            return scores.expand(block.rows, -1, -1, -1)
        return scores.masked_fill(~block.keep[:, None, None, :], -math.inf)


class SyntLayer(nn.Module):
    """Synthesised attention and feed-forward."""

    def __init__(self, variant: Synt) -> None:
        super().__init__()
        size = variant.hidden_size
        inner = variant.intermediate_size or 4 * size
        self.heads = variant.n_heads
        self.scores = Synthesised(variant.weights, size, self.heads, variant.max_positions)
        self.value, self.output, self.attention_norm = Linear(size, size), Linear(size, size), nn.LayerNorm(size)
        self.intermediate, self.back, self.output_norm = (
            Linear(size, inner),
            Linear(inner, size),
            nn.LayerNorm(size),
        )
        self.dropout = Dropout(variant.rate)

    def forward(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """*Shape*: [T, D] -> [T, D]."""
        value_THE = self.value(hidden_TD).view(len(hidden_TD), self.heads, -1)
        # Queries and keys of zero leave the scores to what is added to them.
        nothing = torch.zeros_like(value_THE)
        qkv_T3HE = torch.stack([nothing, nothing, value_THE], dim=1)
        context_TD = attend(qkv_T3HE, batch, bias=self.scores(hidden_TD, batch)).flatten(1)
        hidden_TD = self.attention_norm(hidden_TD + self.dropout(self.output(context_TD)))
        return self.output_norm(hidden_TD + self.dropout(self.back(F.gelu(self.intermediate(hidden_TD)))))


class SyntEncoder(OwnEncoder):
    """Layers one after the other; rows are no longer than the positions."""

    def __init__(self, variant: Synt, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        self.max_positions = variant.max_positions
        self.layers = nn.ModuleList(SyntLayer(variant) for _ in range(variant.layers))

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        hidden_TD = self.embedded(batch)
        outputs = [hidden_TD]
        for layer in self.layers:
            hidden_TD = layer(hidden_TD, batch)
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)
