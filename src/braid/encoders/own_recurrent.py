"""Encoders of recurrent layers: one direction, or two.

Shape legend: T tokens, D hidden size, N rows that are written on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Continuation, Encoder
from braid.encoders.own import OwnEncoder, OwnVariant
from braid.errors import BraidError
from braid.nn.dropout import Dropout
from braid.nn.recurrent import Cell, Recurrent, State


class OneWayVariant(OwnVariant):
    """Base of `lstm` and `gru`."""

    cell: ClassVar[Cell]

    def make(self, vocab_size: int, pad_id: int) -> OneWay:
        return OneWay(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny = {"hidden_size": 32, "layers": 2}
        return [tiny, {**tiny, "embedding": "word_position_segment", "embedding_size": 16, "max_positions": 64}]


class OneWay(OwnEncoder):
    """Layers that read from left to right."""

    sees = "left"

    def __init__(self, variant: OneWayVariant, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        size = variant.hidden_size
        self.layers = nn.ModuleList(Recurrent(variant.cell, size, size) for _ in range(variant.layers))
        self.dropout = Dropout(variant.rate)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        hidden_TD = self.embedded(batch)
        outputs = [hidden_TD]
        for number, layer in enumerate(self.layers):
            hidden_TD = layer(self.dropout(hidden_TD) if number else hidden_TD, batch)
            outputs.append(hidden_TD)
        return outputs[-1], tuple(outputs)

    def continuation(self, batch: Batch) -> Continuation:
        """Read the rows and be ready to write on."""
        with torch.no_grad():
            last_TD, outputs = self(batch)
            given = zip(self.layers, outputs, strict=False)
            states = [layer.ends(hidden_TD, batch) for layer, hidden_TD in given]  # type: ignore[operator]
        return _WritingOn(self, last_TD[batch.cu_seqlens[1:].long() - 1], states, batch.cu_seqlens.diff().long())


class _WritingOn(Continuation):
    """The states of all layers, and how long each row is."""

    def __init__(self, encoder: OneWay, last: Tensor, states: list[State], lengths_N: Tensor) -> None:
        self.encoder, self.last, self.states, self.lengths_N = encoder, last, states, lengths_N

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        limit = self.encoder.max_positions
        if limit is not None and int(self.lengths_N.max()) >= limit:
            raise BraidError(f"the text has reached the encoder's {limit} positions")
        hidden_ND = self.encoder.embeddings(ids, self.lengths_N, torch.zeros_like(ids))
        for number, layer in enumerate(self.encoder.layers):
            hidden_ND, self.states[number] = layer.step(hidden_ND, self.states[number])  # type: ignore[operator]
        self.lengths_N = self.lengths_N + 1
        self.last = hidden_ND
        return hidden_ND

    def select(self, index: Tensor) -> None:
        self.last, self.lengths_N = self.last[index], self.lengths_N[index]
        self.states = [tuple(part[:, index] for part in state) for state in self.states]


class TwoWayVariant(OwnVariant):
    """Base of `bilstm` and `bigru`."""

    cell: ClassVar[Cell]

    directions: Literal["apart", "joint"] = "apart"
    """`apart`: one stack of layers reads forward, another backward, and neither sees the other (ELMo). `joint`: each
    layer reads both directions of the one below it."""

    def make(self, vocab_size: int, pad_id: int) -> Encoder:  # type: ignore[override]
        if self.hidden_size % 2:
            raise BraidError(f"encoder.hidden_size: {self.hidden_size} cannot be divided between two directions")
        return TwoWay(self, vocab_size, pad_id)

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny = {"hidden_size": 32, "layers": 2}
        return [tiny, {**tiny, "directions": "joint", "embedding_size": 16}]


class TwoWay(OwnEncoder):
    """Layers that read from left to right and from right to left, half of the hidden state each."""

    def __init__(self, variant: TwoWayVariant, vocab_size: int, pad_id: int) -> None:
        super().__init__(variant, vocab_size, pad_id)
        half = variant.hidden_size // 2
        self.apart = variant.directions == "apart"
        self.sees = "apart" if self.apart else "both"
        self.layers = nn.ModuleList(
            nn.ModuleList(
                Recurrent(variant.cell, half if self.apart and number else variant.hidden_size, half) for _ in range(2)
            )
            for number in range(variant.layers)
        )
        self.dropout = Dropout(variant.rate)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first); the first half reads forward."""
        hidden_TD = self.embedded(batch)
        ways, outputs = [hidden_TD, hidden_TD], [hidden_TD]
        for number, both in enumerate(self.layers):
            given = [self.dropout(way) if number else way for way in ways]
            ways = [both[k](given[k], batch, reverse=k == 1) for k in range(2)]  # type: ignore[index]
            outputs.append(torch.cat(ways, dim=1))
            if not self.apart:
                ways = [outputs[-1], outputs[-1]]
        return outputs[-1], tuple(outputs)
