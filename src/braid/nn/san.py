"""The stochastic answer network for pairs (Liu et al. 2018, arXiv 1804.07888), as MT-DNN uses it (arXiv 1901.11504).

It reads a pair in several steps: a state that begins as a summary of the hypothesis looks at the premise again and
again, each step predicts, and the predictions are averaged. Shape legend: T tokens, R rows, P and H tokens of their
premises (text) and hypotheses (pair), N of either, L the longest of them, D hidden size, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.errors import BraidError
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.segments import pad, select


class San(nn.Module):
    """K steps of bilinear attention on the premise and a GRU cell; a classifier on [s; x; |s - x|; s * x] after each.

    While training, each step's prediction is left out of the average with probability `prediction_dropout` (at least
    one stays)."""

    def __init__(self, size: int, classes: int, *, steps: int, dropout: float, prediction_dropout: float) -> None:
        super().__init__()
        self.steps, self.prediction_dropout = steps, prediction_dropout
        self.summary = Linear(size, 1, bias=False)
        self.attention = Linear(size, size, bias=False)
        self.cell = nn.GRUCell(size, size)
        self.classifier = Linear(4 * size, classes)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_TD: Tensor, batch: Batch, rows_R: Tensor) -> Tensor:
        """Log-probabilities [R, C] in fp32. Raises BraidError where no row tells its text from its pair."""
        premise_RLD, in_premise_RL, hypothesis_RLD, in_hypothesis_RL = _sides(hidden_TD, batch, rows_R)
        score_RL = self.summary(hypothesis_RLD).squeeze(2).float()
        state_RD = _attend(score_RL, in_hypothesis_RL, hypothesis_RLD)
        predictions = []
        for step in range(self.steps):
            score_RL = torch.einsum("rd,rld->rl", self.attention(state_RD), premise_RLD).float()
            read_RD = _attend(score_RL, in_premise_RL, premise_RLD)
            if step:
                state_RD = self.cell(read_RD, state_RD)
            features = [state_RD, read_RD, (state_RD - read_RD).abs(), state_RD * read_RD]
            logits_RC = self.classifier(self.dropout(torch.cat(features, dim=1)))
            predictions.append(logits_RC.float().log_softmax(dim=1))
        return self._average(torch.stack(predictions))

    def _average(self, predictions_KRC: Tensor) -> Tensor:
        """The log of the mean of K distributions, of those that are kept."""
        steps, rows, _ = predictions_KRC.shape
        kept_KR = torch.ones(steps, rows, dtype=torch.bool, device=predictions_KRC.device)
        if self.training and self.prediction_dropout and steps > 1:
            kept_KR = torch.rand(steps, rows, device=predictions_KRC.device) >= self.prediction_dropout
            kept_KR[-1] |= ~kept_KR.any(dim=0)
        masked_KRC = predictions_KRC.masked_fill(~kept_KR[..., None], -torch.inf)
        return torch.logsumexp(masked_KRC, dim=0) - kept_KR.sum(dim=0)[:, None].log()


def _sides(hidden_TD: Tensor, batch: Batch, rows_R: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Premises [R, L, D] and hypotheses [R, L, D], each with what is real of it [R, L]. A row without a pair is its
    own hypothesis."""
    if batch.real is not None:
        return _sides_of_rectangle(hidden_TD, batch.segments.view_as(batch.real), batch.real)
    places_N, cu = select(batch.cu_seqlens, rows_R)
    row_N = torch.repeat_interleave(torch.arange(len(rows_R), device=cu.device), cu.diff())
    second_N = batch.segments[places_N] == 1
    if not bool(second_N.any()):
        raise BraidError(
            "`head: san` needs pairs and an encoder that tells their texts apart (token types, as BERT has them); "
            "use `head: linear`"
        )
    sizes_R = torch.bincount(row_N[second_N], minlength=len(rows_R))
    alone_N = (sizes_R == 0)[row_N]
    out: list[Tensor] = []
    for chosen_N in (~second_N, second_N | alone_N):
        counts_R = torch.bincount(row_N[chosen_N], minlength=len(rows_R))
        bounds = torch.cat([counts_R.new_zeros(1), counts_R.cumsum(0)])
        out += pad(hidden_TD[places_N[chosen_N]], bounds)
    return out[0], out[1], out[2], out[3]


def _sides_of_rectangle(
    hidden_TD: Tensor, segments_BL: Tensor, real_BL: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same of padded rows: both sides are the whole rows, in which each has places of its own."""
    hidden_BLD = hidden_TD.view(*real_BL.shape, hidden_TD.shape[-1])
    second_BL = real_BL & (segments_BL == 1)
    alone_B1 = ~second_BL.any(dim=1, keepdim=True)
    return hidden_BLD, real_BL & (segments_BL != 1), hidden_BLD, second_BL | (alone_B1 & real_BL)


def _attend(score_RL: Tensor, real_RL: Tensor, values_RLD: Tensor) -> Tensor:
    """The values' mean [R, D], weighed by the softmax of their scores."""
    share_RL = score_RL.masked_fill(~real_RL, -torch.inf).softmax(dim=1).to(values_RLD.dtype)
    return torch.einsum("rl,rld->rd", share_RL, values_RLD)
