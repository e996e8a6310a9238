"""Keys and values of rows that are being written, so that a further token costs no second reading of the row.

Shape legend: T tokens of the first batch, N rows, S places of the cache, H heads, E size of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.batch import Batch

ROOM = 64
"""Places that are added whenever the cache is full."""


class KeyValueCache:
    """The cache of all layers. Rows of different lengths end at one place and so begin at different ones."""

    def __init__(self, batch: Batch) -> None:
        lengths_N = batch.cu_seqlens.diff().long()
        self.used = batch.max_length
        self.room = batch.max_length + ROOM
        self.first_N = batch.max_length - lengths_N
        self.ragged = batch.n_tokens < batch.n_rows * batch.max_length
        self.keep: Tensor | None = None
        self.layers: list[Tensor] = []
        rows_N = torch.arange(batch.n_rows, device=lengths_N.device)
        begin_T = (rows_N * self.room + self.first_N).repeat_interleave(lengths_N, output_size=batch.n_tokens)
        self.places_T = begin_T + batch.positions

    def add_layer(self, qkv_T3HE: Tensor) -> None:
        """Keep what a further layer computed for the first batch."""
        kv_T2HE = qkv_T3HE[: len(self.places_T), 1:]
        empty = kv_T2HE.new_zeros(len(self.first_N) * self.room, *kv_T2HE.shape[1:])
        filled = empty.index_copy_(0, self.places_T, kv_T2HE)
        self.layers.append(filled.view(len(self.first_N), self.room, *kv_T2HE.shape[1:]))

    def advance(self) -> None:
        """Make a place for one more token of each row; its keys and values come with `attend`."""
        if self.used == self.room:
            self.room += ROOM
            self.layers = [F.pad(layer, (0, 0, 0, 0, 0, 0, 0, ROOM)) for layer in self.layers]
        self.used += 1
        if self.ragged:
            place_S = torch.arange(self.used, device=self.first_N.device)
            self.keep = (place_S >= self.first_N[:, None])[:, None, None]

    def attend(self, layer: int, qkv_N3HE: Tensor) -> Tensor:
        """Attention [N, H, E] of each row's newest token to all of its row, itself included."""
        places = self.layers[layer]
        places[:, self.used - 1] = qkv_N3HE[:, 1:]
        key, value = places[:, : self.used].permute(2, 0, 3, 1, 4).unbind(0)
        query = qkv_N3HE[:, 0].unsqueeze(2)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=self.keep).squeeze(2)

    def select(self, index: Tensor) -> None:
        """Go on with rows `index`, in that order; one may be there several times."""
        self.first_N = self.first_N.index_select(0, index)
        self.layers = [layer.index_select(0, index) for layer in self.layers]
