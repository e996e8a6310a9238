"""Writing on with an encoder that keeps nothing of what it read.

Shape legend: N rows, D hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braid.data.batch import Batch
from braid.data.packing import pack_ids
from braid.encoders.base import Continuation, Encoder
from braid.errors import BraidError


class Rereading(Continuation):
    """Reads every row anew for each of its tokens: right for any encoder that sees `left`, but n tokens cost n times
    what one costs with a cache of keys and values. No gradient goes through it."""

    def __init__(self, encoder: Encoder, batch: Batch) -> None:
        self.encoder = encoder
        self.rows: list[list[int]] = [batch.ids[span].tolist() for span in batch]
        self.last = self._read(batch)

    def step(self, ids: Tensor) -> Tensor:
        """The hidden states [N, D] of tokens [N] that come next. Raises BraidError where no position is left."""
        for row, token in zip(self.rows, ids.tolist(), strict=True):
            row.append(token)
        if self.rows:
            self.last = self._read(pack_ids(self.rows).to(ids.device))
        return self.last

    def select(self, index: Tensor) -> None:
        """Go on from rows `index` [N']."""
        self.rows = [[*self.rows[number]] for number in index.tolist()]
        self.last = self.last.index_select(0, index)

    @torch.no_grad()
    def _read(self, batch: Batch) -> Tensor:
        limit = self.encoder.max_positions
        if limit is not None and batch.max_length > limit:
            raise BraidError(f"a row cannot become longer than the encoder's {limit:,} positions")
        states_TD, _ = self.encoder(batch)
        last_ND: Tensor = states_TD.index_select(0, batch.cu_seqlens[1:].long() - 1)
        return last_ND
