"""Recurrent layers over packed rows.

Shape legend: T tokens, B rows, I size of what comes in, D size of what comes out, N rows that are written on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from braid.data.batch import Batch

Cell = Literal["lstm", "gru"]
State = tuple[Tensor, ...]
"""What a layer knows of the rows so far: hidden state (and an LSTM's cell) [1, N, D]."""


@dataclass(frozen=True)
class TimeMajor:
    """The order in which torch's recurrent layers want packed rows: all first tokens, all second ones, ..., the longest
    row first. *index* [T]: which token of the batch stands where; *inverse* [T]: the way back; *sizes* [longest], on
    the CPU: rows that go on at each step; *rows* [B]: where each row of the batch stands among the sorted."""

    index: Tensor
    inverse: Tensor
    sizes: Tensor
    rows: Tensor

    @classmethod
    def of(cls, batch: Batch, *, reverse: bool = False) -> TimeMajor:
        """The order of a batch; *reverse*: each row from its end."""
        lengths_B = batch.cu_seqlens.diff().long()
        order_B = lengths_B.argsort(descending=True, stable=True)
        rank_B = order_B.argsort()
        places = torch.arange(batch.max_length, device=lengths_B.device)
        sizes = (lengths_B[:, None] > places).sum(dim=0)
        before = sizes.cumsum(0) - sizes
        position_T = batch.positions
        if reverse:
            position_T = lengths_B.repeat_interleave(lengths_B) - 1 - position_T
        inverse_T = before[position_T] + rank_B.repeat_interleave(lengths_B)
        return cls(inverse_T.argsort(), inverse_T, sizes.cpu(), rank_B)


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

    def forward(self, hidden_TI: Tensor, order: TimeMajor) -> tuple[Tensor, State]:
        """States [T, D] of all tokens, and the state behind the end of each row, in the batch's order of rows."""
        # Recurrences add up over hundreds of steps, and torch's kernels for them are not faster in half precision.
        with torch.autocast(hidden_TI.device.type, enabled=False):
            packed = PackedSequence(hidden_TI.float()[order.index], order.sizes)
            out, last = self.cell(packed)
        states = last if isinstance(last, tuple) else (last,)
        return out.data[order.inverse], tuple(state[:, order.rows] for state in states)

    def step(self, input_NI: Tensor, state: State) -> tuple[Tensor, State]:
        """One further token of each row: its state [N, D], and what is known now."""
        given = state if isinstance(self.cell, nn.LSTM) else state[0]
        out, last = self.cell(input_NI[None], given)
        return out[0], last if isinstance(last, tuple) else (last,)
