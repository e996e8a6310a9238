"""rcnn: each word with what a recurrent layer read to its left and its right (Lai et al. 2015, AAAI).

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.own import OwnEncoder, OwnVariant
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.recurrent import Cell, Recurrent


class Rcnn(OwnVariant):
    """Recurrent context on both sides of each word, and a dense layer over the three."""

    type: Literal["rcnn"] = "rcnn"
    cell: ClassVar[Cell] = "lstm"

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        return RcnnEncoder(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        return [{"hidden_size": 32, "layers": 1}, {"hidden_size": 32, "layers": 2, "embedding": "sinusoidal"}]


class RcnnEncoder(OwnEncoder):
    """tanh(W [left; word; right]), once or several times."""

    def __init__(self, variant: Rcnn, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "left": Recurrent(variant.cell, size, size),
                    "right": Recurrent(variant.cell, size, size),
                    "dense": Linear(3 * size, size),
                }
            )
            for _ in range(variant.layers)
        )
        self.dropout = Dropout(variant.rate)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        hidden_TD = self.embedded(batch)
        outputs = [hidden_TD]
        for number, layer in enumerate(self.layers):
            given_TD = self.dropout(hidden_TD) if number else hidden_TD
            left_TD = layer["left"](given_TD, batch)  # type: ignore[index]
            right_TD = layer["right"](given_TD, batch, reverse=True)  # type: ignore[index]
            hidden_TD = torch.tanh(layer["dense"](torch.cat([left_TD, given_TD, right_TD], dim=1)))  # type: ignore[index]
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)
