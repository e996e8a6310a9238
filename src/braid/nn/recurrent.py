"""Recurrent layers over packed rows.

Shape legend: T tokens, I size of what comes in, D size of what comes out, N rows, L steps, P places of a staircase,
S stretches of it, t tokens of a block.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from braid.data.batch import Batch

Cell = Literal["lstm", "gru"]
State = tuple[Tensor, ...]
"""What a layer knows of rows so far: hidden state (and an LSTM's cell) [1, N, D]."""

ROUND = 8
"""Rows and steps of stretches are rounded up to multiples of this: oneDNN compiles a kernel for each shape."""


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

        All rows are read side by side, padded behind their ends, where no real token sees it, and leave when their
        block ends: torch's kernel for such rectangles is several times faster than the one for packed sequences."""
        turn_T = turned(batch) if reverse else None
        given_TI = hidden_TI if turn_T is None else hidden_TI[turn_T]
        found_TD = self._read(given_TI, batch)
        return found_TD if turn_T is None else found_TD[turn_T]

    def _read(self, hidden_TI: Tensor, batch: Batch) -> Tensor:
        """States of all tokens, stretch of time by stretch: in each go on the rows that have not ended before it."""
        stretches, places_T = staircase(batch)
        total = sum(steps * rows for steps, rows in stretches)
        laid_PI = hidden_TI.new_zeros(total, hidden_TI.shape[1]).index_copy(0, places_T, hidden_TI)
        state: State | None = None
        found, first = [], 0
        for steps, rows in stretches:
            given_LNI = laid_PI[first : first + steps * rows].view(steps, rows, -1)
            known = None if state is None else tuple(part[:, :rows].contiguous() for part in state)
            out_LND, last = self.cell(given_LNI, known if known is None or len(known) > 1 else known[0])
            state = last if isinstance(last, tuple) else (last,)
            found.append(out_LND.flatten(0, 1))
            first += steps * rows
        return torch.cat(found)[places_T]

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


def staircase(batch: Batch) -> tuple[list[tuple[int, int]], Tensor]:
    """How rows of many lengths are read side by side, the longest first.

    *Returns*: stretches of time, each its steps and how many rows are read in it; and [T]: where each token stands when
    the stretches' [steps, rows] places are laid end to end."""
    blocks = sorted(batch.blocks, key=lambda block: -block.longest)
    ends = [-(-block.longest // ROUND) * ROUND for block in blocks]
    firsts = list(accumulate((block.rows for block in blocks), initial=0))
    stretches: list[tuple[int, int]] = []
    starts: list[tuple[int, int]] = []  # of each stretch: its first step, and its first place
    begin = place = 0
    for end in sorted(set(ends)):
        alive = firsts[sum(other >= end for other in ends)]
        rows = -(-alive // ROUND) * ROUND
        stretches.append((end - begin, rows))
        starts.append((begin, place))
        place += (end - begin) * rows
        begin = end
    device = batch.cu_seqlens.device
    begin_S, place_S, rows_S = (
        torch.tensor(column, device=device)
        for column in zip(*(start + stretch[1:] for start, stretch in zip(starts, stretches, strict=True)), strict=True)
    )
    places_T = torch.empty(batch.n_tokens, dtype=torch.long, device=device)
    for first, block in zip(firsts, blocks, strict=False):
        rows_t, steps_t = block.places // block.longest, block.places % block.longest
        stretch_t = torch.bucketize(steps_t, begin_S, right=True) - 1
        places_T[block.tokens] = (
            place_S[stretch_t] + (steps_t - begin_S[stretch_t]) * rows_S[stretch_t] + first + rows_t
        )
    return stretches, places_T


def turned(batch: Batch) -> Tensor:
    """[T]: the token that stands where each one would, were its row read from the end."""
    bounds_B = batch.cu_seqlens.long()
    lengths_B = bounds_B.diff()
    both_T = (bounds_B[:-1] + bounds_B[1:] - 1).repeat_interleave(lengths_B)
    return both_T - torch.arange(batch.n_tokens, device=bounds_B.device)
