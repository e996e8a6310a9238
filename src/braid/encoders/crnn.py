"""crnn: convolutions, and recurrent layers over what they found.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.own import OwnEncoder, OwnVariant
from braid.errors import BraidError
from braid.nn.convolution import Convolution, Neighbours
from braid.nn.dropout import Dropout
from braid.nn.recurrent import Recurrent


class Crnn(OwnVariant):
    """A convolution, then `layers` recurrent layers in both directions."""

    type: Literal["crnn"] = "crnn"

    kernel_size: int = Field(default=3, ge=1, le=99)
    """Tokens that the convolution sees."""

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        if self.hidden_size % 2:
            raise BraidError(f"encoder.hidden_size: {self.hidden_size} cannot be divided between two directions")
        return CrnnEncoder(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        return [{"hidden_size": 32, "layers": 1}, {"hidden_size": 32, "layers": 2, "kernel_size": 2}]


class CrnnEncoder(OwnEncoder):
    """ReLU of a convolution; LSTM layers whose directions are joined after each."""

    def __init__(self, variant: Crnn, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.width = variant.kernel_size
        self.convolution = Convolution(size, size, self.width)
        self.layers = nn.ModuleList(
            nn.ModuleList(Recurrent("lstm", size, size // 2) for _ in range(2)) for _ in range(variant.layers)
        )
        self.dropout = Dropout(variant.rate)

    def layer_of(self, name: str) -> int:
        """The convolution counts as embeddings."""
        return 0 if name.startswith("convolution.") else super().layer_of(name)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (what the convolution found first)."""
        neighbours = Neighbours(batch, self.width, causal=False)
        hidden_TD = F.relu(self.convolution(self.embedded(batch), neighbours))
        outputs = [hidden_TD]
        for both in self.layers:
            given_TD = self.dropout(hidden_TD)
            found = [both[k](given_TD, batch, reverse=k == 1) for k in range(2)]  # type: ignore[index]
            hidden_TD = torch.cat(found, dim=1)
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)
