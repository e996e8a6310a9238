"""Convolutions over packed rows: each token's neighbours are gathered, so that no padding is ever computed.

Shape legend: T tokens, D hidden size, K width of the kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.nn.linear import Linear


class Neighbours:
    """Which tokens stand around each one, within its row. *index* [T, K]: T where the row has none."""

    def __init__(self, batch: Batch, width: int, *, causal: bool) -> None:
        lengths_B = batch.cu_seqlens.diff().long()
        length_T = lengths_B.repeat_interleave(lengths_B)
        offsets_K = torch.arange(width, device=length_T.device) - (width - 1 if causal else width // 2)
        place_TK = batch.positions[:, None] + offsets_K
        inside_TK = (place_TK >= 0) & (place_TK < length_T[:, None])
        tokens = batch.n_tokens
        token_TK = torch.arange(tokens, device=length_T.device)[:, None] + offsets_K
        self.index_TK = torch.where(inside_TK, token_TK, tokens)

    def gather(self, hidden_TD: Tensor) -> Tensor:
        """[T, K * D]: every token's neighbours, zeros where its row ends."""
        padded = torch.cat([hidden_TD, hidden_TD.new_zeros(1, hidden_TD.shape[1])])
        # Faster than `padded[index]` on a CPU, most of all on the way back.
        return padded.index_select(0, self.index_TK.flatten()).view(len(hidden_TD), -1)


class Convolution(nn.Module):
    """A convolution over the tokens of a row."""

    def __init__(self, input_size: int, output_size: int, width: int) -> None:
        super().__init__()
        self.kernel = Linear(width * input_size, output_size)
        nn.init.kaiming_normal_(self.kernel.weight, nonlinearity="linear")
        nn.init.zeros_(self.kernel.bias)

    def forward(self, hidden_TD: Tensor, neighbours: Neighbours) -> Tensor:
        """*Shape*: [T, D] -> [T, output size]."""
        return self.kernel(neighbours.gather(hidden_TD))
