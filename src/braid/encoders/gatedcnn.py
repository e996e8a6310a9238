"""gatedcnn: convolutions with gates (Dauphin et al. 2017, arXiv 1612.08083).

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Continuation
from braid.encoders.own import MAX_LAYERS, OwnEncoder, OwnVariant
from braid.encoders.rereading import Rereading
from braid.nn.convolution import Convolution, Neighbours
from braid.nn.dropout import Dropout


class GatedCnn(OwnVariant):
    """Convolutions with gates, in blocks that are added to what comes in."""

    type: Literal["gatedcnn"] = "gatedcnn"

    kernel_size: int = Field(default=3, ge=1, le=99)
    """Tokens that one convolution sees."""

    block_size: int = Field(default=2, ge=1, le=MAX_LAYERS)
    """Layers between what comes in and where it is added."""

    causal: bool = False
    """Whether a token sees the left only, as the language model of the paper."""

    norm: bool = True
    """Whether each layer normalises what comes in. UER-py's do not."""

    first_block: Literal["embeddings", "layer"] = "embeddings"
    """What the first block is added to: the embeddings; or the first layer's output, behind which blocks are counted
    (UER-py), so that layers which make no whole block at the end are added to nothing."""

    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        return GatedCnnEncoder(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny = {"hidden_size": 32, "layers": 3}
        plain = {**tiny, "causal": True, "norm": False, "first_block": "layer", "layers": 4, "embedding_size": 16}
        return [tiny, {**tiny, "causal": True, "kernel_size": 4, "block_size": 1}, plain]


class GatedLayer(nn.Module):
    """Norm (or none), and a gated linear unit over a convolution."""

    def __init__(self, size: int, width: int, dropout: float, *, norm: bool) -> None:
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(size) if norm else nn.Identity()
        self.convolution = Convolution(size, 2 * size, width)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_TD: Tensor, neighbours: Neighbours) -> Tensor:
        """*Shape*: [T, D] -> [T, D]."""
        out: Tensor = self.dropout(F.glu(self.convolution(self.norm(hidden_TD), neighbours)))
        return out


class GatedCnnEncoder(OwnEncoder):
    """Gated layers in residual blocks."""

    def __init__(self, variant: GatedCnn, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.width, self.causal = variant.kernel_size, variant.causal
        self.begins_late = variant.first_block == "layer"
        self.sees = "left" if variant.causal else "both"
        self.layers = nn.ModuleList(
            GatedLayer(size, self.width, variant.rate, norm=variant.norm) for _ in range(variant.layers)
        )
        self.ends = block_ends(variant)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        neighbours, hidden_TD = Neighbours(batch, self.width, causal=self.causal), self.embedded(batch)
        outputs, begun_TD = [hidden_TD], hidden_TD
        for number, layer in enumerate(self.layers, 1):
            hidden_TD = layer(hidden_TD, neighbours)
            if number in self.ends:
                hidden_TD = hidden_TD + begun_TD
            if number in self.ends or (number == 1 and self.begins_late):
                begun_TD = hidden_TD
            outputs.append(hidden_TD)
        return hidden_TD, tuple(outputs)

    def continuation(self, batch: Batch) -> Continuation:
        """Read the rows and be ready to write on, each time from their beginning."""
        return super().continuation(batch) if not self.causal else Rereading(self, batch)


def block_ends(variant: GatedCnn) -> frozenset[int]:
    """The layers, numbered from 1, whose output is added to what went into their block."""
    numbers = range(1, variant.layers + 1)
    if variant.first_block == "layer":
        return frozenset(number for number in numbers if number > 1 and (number - 1) % variant.block_size == 0)
    return frozenset(number for number in numbers if number % variant.block_size == 0 or number == variant.layers)
