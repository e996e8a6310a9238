"""cnn: convolutions over the tokens of a row.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.own import OwnEncoder, OwnVariant
from braid.nn.convolution import Convolution, Neighbours
from braid.nn.dropout import Dropout


class Cnn(OwnVariant):
    """Convolutions, each added to what comes in."""

    type: Literal["cnn"] = "cnn"

    kernel_size: int = Field(default=3, ge=1, le=99)
    """Tokens that one convolution sees."""

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        return CnnEncoder(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        return [{"hidden_size": 32, "layers": 2}, {"hidden_size": 32, "layers": 3, "kernel_size": 5}]


class CnnLayer(nn.Module):
    """Norm, convolution, ReLU, dropout; added to what came in."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.convolution = Convolution(size, size, width)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_TD: Tensor, neighbours: Neighbours) -> Tensor:
        """*Shape*: [T, D] -> [T, D]."""
        return hidden_TD + self.dropout(F.relu(self.convolution(self.norm(hidden_TD), neighbours)))


class CnnEncoder(OwnEncoder):
    """Convolutions one after the other."""

    def __init__(self, variant: Cnn, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.width = variant.kernel_size
        self.layers = nn.ModuleList(CnnLayer(size, self.width, variant.rate) for _ in range(variant.layers))

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        neighbours, hidden_TD = Neighbours(batch, self.width, causal=False), self.embedded(batch)
        outputs = [hidden_TD]
        for layer in self.layers:
            hidden_TD = layer(hidden_TD, neighbours)
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)
