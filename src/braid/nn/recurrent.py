"""Recurrent layers over packed rows.

Shape legend: T tokens, I size of what comes in, D size of what comes out, N rows, b rows of a block, L its longest row.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from braid.data.batch import AttentionBlock, Batch

Cell = Literal["lstm", "gru"]
State = tuple[Tensor, ...]
"""What a layer knows of rows so far: hidden state (and an LSTM's cell) [1, N, D]."""

ROUND = 8
"""Rows and lengths of blocks are rounded up to multiples of this: oneDNN compiles a kernel for each shape."""


class Recurrent(nn.Module):
    """One layer of LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014) cells, in one direction."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = (nn.LSTM if cell == "lstm" else nn.GRU)(input_size, hidden_size)
        self.initialise()

    def initialise(self) -> None:
        """Glorot's uniform for what comes in, orthogonal for what comes back; an LSTM's forget gates begin open
        (Jozefowicz et al. 2015)."""
        size = self.cell.hidden_size
        for name, parameter in self.cell.named_parameters():
            for gate in parameter.data.split(size):
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                else:
                    nn.init.zeros_(gate)
        if isinstance(self.cell, nn.LSTM):
            nn.init.ones_(self.cell.get_parameter("bias_ih_l0").data[size : 2 * size])

    def forward(self, hidden_TI: Tensor, batch: Batch, *, reverse: bool = False) -> Tensor:
        """States [T, D] of all tokens; *reverse*: each row read from its end.

        Rows of similar length go together, padded behind their ends, where no real token sees it: torch's kernel for
        such blocks is several times faster than the one for packed sequences."""
        turn_T = turned(batch) if reverse else None
        given = hidden_TI if turn_T is None else hidden_TI[turn_T]
        found = torch.cat([self._block(given, block) for block in batch.blocks])
        found = found if batch.restore is None else found[batch.restore]
        return found if turn_T is None else found[turn_T]

    def _block(self, hidden_TI: Tensor, block: AttentionBlock) -> Tensor:
        """States of a block's tokens, in the order of `block.tokens`."""
        rows_bLI = hidden_TI.new_zeros(block.rows * block.longest, hidden_TI.shape[1])
        rows_bLI = rows_bLI.index_copy(0, block.places, hidden_TI[block.tokens]).view(block.rows, block.longest, -1)
        rows_bLI = F.pad(rows_bLI, (0, 0, 0, -block.longest % ROUND, 0, -block.rows % ROUND))
        out_LbD, _ = self.cell(rows_bLI.transpose(0, 1).contiguous())
        states_bLD = out_LbD[: block.longest, : block.rows].transpose(0, 1).flatten(0, 1)
        states: Tensor = states_bLD[block.places]
        return states

    def ends(self, hidden_TI: Tensor, batch: Batch) -> State:
        """What is known behind the end of each row, in the batch's order of rows."""
        packed = pack_sequence([hidden_TI[span] for span in batch], enforce_sorted=False)
        _, last = self.cell(packed)
        return last if isinstance(last, tuple) else (last,)

    def step(self, input_NI: Tensor, state: State) -> tuple[Tensor, State]:
        """One further token of each row: its state [N, D], and what is known now."""
        given = state if isinstance(self.cell, nn.LSTM) else state[0]
        out, last = self.cell(input_NI[None], given)
        return out[0], last if isinstance(last, tuple) else (last,)


def turned(batch: Batch) -> Tensor:
    """[T]: the token that stands where each one would, were its row read from the end."""
    bounds_B = batch.cu_seqlens.long()
    lengths_B = bounds_B.diff()
    both_T = (bounds_B[:-1] + bounds_B[1:] - 1).repeat_interleave(lengths_B)
    return both_T - torch.arange(batch.n_tokens, device=bounds_B.device)
