"""Ways to make vectors of tokens.

Shape legend: T tokens, V vocabulary, M embedding size, D hidden size, L longest row.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.positions import sinusoids, waves

EmbeddingKind = Literal["word", "word_position_segment", "sinusoidal"]
"""A vector for each word; beside it one for each position and segment (BERT), normalised; or beside it the waves of
Vaswani et al. (2017), arXiv 1706.03762, section 3.5."""

SEGMENTS = 2


class TokenEmbeddings(nn.Module):
    """Tokens as vectors [T, D]. Where the embedding size is not the hidden size, a linear layer maps one to the other.

    *positions*: for `word_position_segment`, how many there are."""

    def __init__(
        self,
        kind: EmbeddingKind,
        vocab_size: int,
        embedding_size: int,
        hidden_size: int,
        *,
        positions: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.word = nn.Embedding(vocab_size, embedding_size)
        learned = kind == "word_position_segment"
        self.position = nn.Embedding(positions, embedding_size) if learned else None
        self.segment = nn.Embedding(SEGMENTS, embedding_size) if learned else None
        self.norm = nn.LayerNorm(embedding_size) if learned else None
        self.project = Linear(embedding_size, hidden_size) if embedding_size != hidden_size else None
        self.dropout = Dropout(dropout)

    def initialise(self, std: float, pad_id: int) -> None:
        """Normal with deviation `std`; the padding token's vector is zero."""
        for table in (self.word, self.position, self.segment):
            if table is not None:
                nn.init.normal_(table.weight, std=std)
        with torch.no_grad():
            self.word.weight[pad_id].zero_()

    def forward(self, ids_T: Tensor, positions_T: Tensor, segments_T: Tensor) -> Tensor:
        """*Shape*: [T, D]."""
        hidden_TM = self.word(ids_T)
        if self.position is not None and self.segment is not None and self.norm is not None:
            hidden_TM = self.norm(hidden_TM + self.position(positions_T) + self.segment(segments_T))
        elif self.kind == "sinusoidal" and torch.compiler.is_exporting():
            hidden_TM = hidden_TM * math.sqrt(hidden_TM.shape[-1]) + waves(positions_T, hidden_TM.shape[-1])
        elif self.kind == "sinusoidal":
            longest, size = int(positions_T.max()) + 1 if len(positions_T) else 0, hidden_TM.shape[-1]
            waves_LM = sinusoids(longest, size, hidden_TM.device).to(hidden_TM.dtype)
            # Fresh words are small; as loud as the waves they are heard (Vaswani et al. 2017, section 3.4).
            hidden_TM = hidden_TM * math.sqrt(size) + waves_LM[positions_T]
        hidden_TM = self.dropout(hidden_TM)
        return hidden_TM if self.project is None else self.project(hidden_TM)
