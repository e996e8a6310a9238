"""One vector for each row of a packed batch.

Shape legend: T tokens of the batch, R rows that are asked for, N tokens of those rows, D hidden size, B rows of L
places where a batch is a rectangle.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.segments import select

Pooling = Literal["cls", "mean", "max", "weighted", "attention"]


class Pooler(nn.Module):
    """Hidden states -> one vector a row: the first token's, or the mean, maximum or a learned average of all tokens.

    `weighted` is a mean in which the k-th token of n weighs k / (1 + ... + n): for encoders that see to the left only,
    whose later tokens know more (SGPT, Muennighoff 2022, arXiv 2202.08904, section 3.1). `attention` weighs tokens by a
    softmax, within the row, of a learned linear score (self-attentive pooling, Lin et al. 2017 with one hop). Special
    tokens take part as all others do.
    """

    def __init__(self, kind: Pooling, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.score = Linear(hidden_size, 1)

    def reads(self, batch: Batch, rows_R: Tensor) -> Tensor | None:
        """The tokens that it reads of these rows; None: all."""
        return batch.cu_seqlens[rows_R].long() if self.kind == "cls" else None

    def forward(self, hidden_TD: Tensor, batch: Batch, rows_R: Tensor) -> Tensor:
        """Vectors [R, D] of the batch rows `rows` [R], in their order and the hidden states' type."""
        if self.kind == "cls":
            return hidden_TD[batch.cu_seqlens[rows_R].long()]
        if batch.real is not None:
            return self._of_rectangle(hidden_TD, batch.real)
        index_N, cu = select(batch.cu_seqlens, rows_R)
        lengths_R = cu.diff()
        # Sums over hundreds of tokens need more bits than bfloat16 has.
        hidden_ND = hidden_TD[index_N].float()
        if self.kind == "attention":
            score_N = self.score(hidden_ND).squeeze(-1).float()
            hidden_ND = hidden_ND * _softmax(score_N, lengths_R)[:, None]
        elif self.kind == "weighted":
            total_R = lengths_R * (lengths_R + 1) / 2
            share_N = (batch.positions[index_N] + 1) / torch.repeat_interleave(total_R, lengths_R)
            hidden_ND = hidden_ND * share_N[:, None]
        reduce = "sum" if self.kind in ("attention", "weighted") else self.kind
        pooled_RD = torch.segment_reduce(hidden_ND, reduce, lengths=lengths_R, axis=0, unsafe=True)
        return pooled_RD.to(hidden_TD.dtype)

    def _of_rectangle(self, hidden_TD: Tensor, real_BL: Tensor) -> Tensor:
        """The same of padded rows: [B, D]."""
        hidden_BLD = hidden_TD.view(*real_BL.shape, hidden_TD.shape[-1])
        real_BL1 = real_BL[:, :, None]
        if self.kind == "max":
            return hidden_BLD.masked_fill(~real_BL1, -torch.inf).amax(dim=1)
        if self.kind == "attention":
            share_BL1 = self.score(hidden_BLD).masked_fill(~real_BL1, -torch.inf).softmax(dim=1)
            return (hidden_BLD * share_BL1).sum(dim=1)
        real_BL1 = real_BL1.to(hidden_BLD.dtype)
        return (hidden_BLD * real_BL1).sum(dim=1) / real_BL1.sum(dim=1)


def _softmax(score_N: Tensor, lengths_R: Tensor) -> Tensor:
    """Softmax within each segment, stable for scores of any size."""
    highest_R = torch.segment_reduce(score_N.detach(), "max", lengths=lengths_R, axis=0, unsafe=True)
    power_N = (score_N - torch.repeat_interleave(highest_R, lengths_R)).exp()
    total_R = torch.segment_reduce(power_N, "sum", lengths=lengths_R, axis=0, unsafe=True)
    return power_N / torch.repeat_interleave(total_R, lengths_R)


class RowFeatures(nn.Module):
    """What a head that answers once a row puts in front of its last layer: pooling, BERT's pooler, dropout, and as
    many more dense layers as it wants.

    BERT's pooler (Devlin et al. 2019, `BertPooler`) is a dense layer of the hidden size with a tanh. With `cls` it
    starts from the checkpoint's, as fine-tuning usually does; else from random weights.
    """

    def __init__(self, kind: Pooling, hidden_size: int, *, dense: bool, dropout: float, layers: int = 0) -> None:
        super().__init__()
        self.pool = Pooler(kind, hidden_size)
        self.dense = Linear(hidden_size, hidden_size) if dense else None
        self.dropout = Dropout(dropout)
        self.takes_pooler = dense and kind == "cls"
        self.more = nn.ModuleList(Linear(hidden_size, hidden_size) for _ in range(layers))

    def start_from(self, weight_DD: Tensor, bias_D: Tensor) -> None:
        """Begin with a checkpoint's pooler, where this one is of its kind."""
        if self.dense is not None and self.takes_pooler and self.dense.weight.shape == weight_DD.shape:
            with torch.no_grad():
                self.dense.weight.copy_(weight_DD)
                self.dense.bias.copy_(bias_D)

    def forward(self, hidden_TD: Tensor, batch: Batch, rows_R: Tensor) -> Tensor:
        """Features [R, D]."""
        pooled_RD = self.pool(hidden_TD, batch, rows_R)
        if self.dense is not None:
            pooled_RD = torch.tanh(self.dense(pooled_RD))
        features_RD: Tensor = self.dropout(pooled_RD)
        for layer in self.more:
            features_RD = self.dropout(torch.tanh(layer(features_RD)))
        return features_RD
