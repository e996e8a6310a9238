"""Writing sequences with a model that predicts one token at a time: greedy, sampled, or by beam search.

Nothing here knows what the model is. Rows that are finished leave the computation.

Shape legend: R rows, A those still being written, K beams, C tokens that can be written, L tokens of the longest
sequence, t tokens written so far, J candidates of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Writer(Protocol):
    """A model in the middle of writing; `braid.nn.decoder.Continuation` is one."""

    def step(self, ids_RK: Tensor) -> Tensor:
        """Logits [R, K, C] of what comes after the tokens `ids` [R, K], which are appended to what was written."""
        ...

    def reorder(self, parents_RK: Tensor) -> None:
        """Go on, as continuation k of each row, from what was its continuation `parents[k]`."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows only."""
        ...


@dataclass(frozen=True)
class Request:
    """What is to be written: *rows* sequences that follow the symbol *begin*, until *end* or *longest* tokens."""

    rows: int
    begin: int
    end: int
    longest: int


@dataclass(frozen=True)
class Sequences:
    """*ids*, *log_probs* [R, L] of every token written, the end symbol included; *sizes* [R]: how many.
    Log-probabilities are the model's own, whatever was done to choose among them."""

    ids: Tensor
    log_probs: Tensor
    sizes: Tensor

    @classmethod
    def empty(cls, request: Request, device: torch.device) -> Sequences:
        """For nothing written yet."""
        ids = torch.zeros(request.rows, request.longest, dtype=torch.int64, device=device)
        return cls(ids, torch.zeros(ids.shape, device=device), torch.zeros_like(ids[:, 0]))

    def flat(self) -> tuple[Tensor, Tensor]:
        """Ids and log-probabilities of all rows, end to end."""
        keep = torch.arange(self.ids.shape[1], device=self.ids.device) < self.sizes[:, None]
        return self.ids[keep], self.log_probs[keep]


Choose = Callable[[Tensor, Tensor, int], Tensor]
"""Tokens [A] chosen by the logits [A, C] of rows `rows` [A] at position `t`."""


def write(model: Writer, request: Request, choose: Choose, *, device: torch.device) -> Sequences:
    """One token after the other, each as `choose` has it."""
    out = Sequences.empty(request, device)
    active_A = torch.arange(request.rows, device=device)
    ids_A = torch.full_like(active_A, request.begin)
    for t in range(request.longest):
        logits_AC = model.step(ids_A[:, None])[:, 0].float()
        ids_A = choose(logits_AC, active_A, t)
        out.ids[active_A, t] = ids_A
        out.log_probs[active_A, t] = logits_AC.log_softmax(dim=-1).gather(1, ids_A[:, None]).squeeze(1)
        out.sizes[active_A] += 1
        going = (ids_A != request.end).nonzero().squeeze(1)
        if len(going) == 0:
            break
        if len(going) < len(ids_A):
            active_A, ids_A = active_A[going], ids_A[going]
            model.keep(going)
    return out


def greedy(logits_AC: Tensor, rows_A: Tensor, t: int) -> Tensor:
    """The most probable token."""
    return logits_AC.argmax(dim=-1)


def sampler(chance_RL: Tensor, *, temperature: float, top_k: int | None, top_p: float) -> Choose:
    """Tokens drawn from the softmax of logits / temperature, of the `top_k` most probable tokens only, and of the
    fewest whose probabilities reach `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751).

    *chance* [R, L]: uniform numbers in [0, 1), the only source of randomness: a row's draws depend on its own alone.
    """

    def choose(logits_AC: Tensor, rows_A: Tensor, t: int) -> Tensor:
        size = logits_AC.shape[-1] if top_k is None else min(top_k, logits_AC.shape[-1])
        best_AJ, tokens_AJ = (logits_AC / temperature).topk(size, dim=-1)
        share_AJ = best_AJ.softmax(dim=-1)
        # The most probable token always stays.
        spare_AJ = (share_AJ.cumsum(dim=-1) - share_AJ >= top_p).index_fill(1, tokens_AJ.new_zeros(1), False)
        total_AJ = share_AJ.masked_fill(spare_AJ, 0.0).cumsum(dim=-1)
        place_A1 = (total_AJ <= chance_RL[rows_A, t, None] * total_AJ[:, -1:]).sum(dim=-1, keepdim=True)
        last_A1 = size - 1 - spare_AJ.sum(dim=-1, keepdim=True)
        return tokens_AJ.gather(1, place_A1.minimum(last_A1)).squeeze(1)

    return choose


def length_penalty(length: Tensor, alpha: float) -> Tensor:
    """What a sequence's log-probability is divided by: ((5 + length) / 6) ** alpha (Wu et al. 2016, arXiv 1609.08144,
    equation 14), for lengths of any shape. The end symbol counts."""
    return ((5 + length) / 6) ** alpha


def beam_search(model: Writer, request: Request, *, beams: int, alpha: float, device: torch.device) -> Sequences:
    """The best sequence that a search with `beams` open ones finds, by log-probability over length penalty.

    In each step a sequence that ends, and is among the `beams` best, is finished, and the best others go on. A row's
    search ends when no open sequence can surpass the best finished one; with `beams` finished, when none does so at
    its present length. So one beam is greedy search."""
    out = Sequences.empty(request, device)
    best_R = torch.full((request.rows,), float("-inf"), device=device)
    search = _Open.begin(request, beams, device)
    for t in range(request.longest):
        ids_AK = search.ids_AKt[:, :, -1] if t else torch.full((request.rows, beams), request.begin, device=device)
        log_probs_AKC = model.step(ids_AK).float().log_softmax(dim=-1)
        total_AJ, parent_AJ, token_AJ, own_AJ = _candidates(search.total_AK, log_probs_AKC)
        over_AJ = token_AJ == request.end if t + 1 < request.longest else torch.ones_like(token_AJ, dtype=torch.bool)
        finished_AJ = over_AJ & (torch.arange(2 * beams, device=device) < beams) & total_AJ.isfinite()
        score_AJ = (total_AJ / length_penalty(torch.tensor(t + 1), alpha)).masked_fill(~finished_AJ, float("-inf"))
        score_A, place_A = score_AJ.max(dim=1)
        better = (score_A > best_R[search.rows_A]).nonzero().squeeze(1)
        rows, places = search.rows_A[better], place_A[better]
        parents = parent_AJ[better, places]
        out.ids[rows, :t] = search.ids_AKt[better, parents]
        out.log_probs[rows, :t] = search.log_probs_AKt[better, parents]
        out.ids[rows, t], out.log_probs[rows, t] = token_AJ[better, places], own_AJ[better, places]
        out.sizes[rows] = t + 1
        best_R[rows] = score_A[better]

        # The best K that do not end: a stable sort keeps the order within them.
        order_AK = over_AJ.int().argsort(dim=1, stable=True)[:, :beams]
        parent_AK, token_AK = parent_AJ.gather(1, order_AK), token_AJ.gather(1, order_AK)
        own_AK, total_AK = own_AJ.gather(1, order_AK), total_AJ.gather(1, order_AK)
        search = search.grown(parent_AK, token_AK, own_AK, total_AK, finished_AJ.sum(dim=1))
        # Log-probabilities only fall, and the penalty of the greatest length is the mildest.
        last_A = torch.where(search.finished_A < beams, request.longest, t + 1)
        hope_A = search.total_AK[:, 0] / length_penalty(last_A, alpha)
        going = (hope_A > best_R[search.rows_A]).nonzero().squeeze(1)
        if len(going) == 0 or t + 1 == request.longest:
            break
        model.reorder(parent_AK)
        if len(going) < len(parent_AK):
            model.keep(going)
            search = search.of(going)
    return out


@dataclass(frozen=True)
class _Open:
    """The open sequences of rows `rows` [A], best first: ids and log-probabilities [A, K, t], their sums [A, K], and
    how many sequences of the row are finished [A]."""

    rows_A: Tensor
    ids_AKt: Tensor
    log_probs_AKt: Tensor
    total_AK: Tensor
    finished_A: Tensor

    @classmethod
    def begin(cls, request: Request, beams: int, device: torch.device) -> _Open:
        rows_A = torch.arange(request.rows, device=device)
        nothing = torch.zeros(request.rows, beams, 0, dtype=torch.int64, device=device)
        total_AK = torch.zeros(request.rows, beams, device=device)
        # All beams stand at the same place: one of them is enough.
        total_AK[:, 1:] = float("-inf")
        return cls(rows_A, nothing, nothing.float(), total_AK, torch.zeros_like(rows_A))

    def grown(self, parent_AK: Tensor, token_AK: Tensor, own_AK: Tensor, total_AK: Tensor, finished_A: Tensor) -> _Open:
        index = parent_AK[:, :, None].expand(-1, -1, self.ids_AKt.shape[2])
        return _Open(
            self.rows_A,
            torch.cat([self.ids_AKt.gather(1, index), token_AK[:, :, None]], dim=2),
            torch.cat([self.log_probs_AKt.gather(1, index), own_AK[:, :, None]], dim=2),
            total_AK,
            self.finished_A + finished_A,
        )

    def of(self, rows: Tensor) -> _Open:
        return _Open(
            self.rows_A[rows], self.ids_AKt[rows], self.log_probs_AKt[rows], self.total_AK[rows], self.finished_A[rows]
        )


def _candidates(total_AK: Tensor, log_probs_AKC: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best 2K ways to go on, enough for K that do not end: sum of log-probabilities, which beam it goes on from,
    token, and the token's own log-probability, each [A, 2K], best first."""
    beams, size = log_probs_AKC.shape[1:]
    total_AJ, place_AJ = (total_AK[:, :, None] + log_probs_AKC).flatten(1).topk(2 * beams, dim=1)
    own_AJ = log_probs_AKC.flatten(1).gather(1, place_AJ)
    return total_AJ, place_AJ // size, place_AJ % size, own_AJ
