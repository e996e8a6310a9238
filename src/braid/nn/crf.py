"""What a linear-chain conditional random field (Lafferty et al. 2001) learns, of ragged sequences laid flat.

How it decodes: `braid.decoding.crf`.
Shape legend: N units of all sequences, B sequences, L units of the longest, C tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braid.nn.segments import pad

ILLEGAL = -1e4
"""Score of a first or last tag that is forbidden: exp of it is 0, yet every gradient stays finite."""


class Crf(nn.Module):
    """Learned scores of tag pairs and of first and last tags, with those that are never legal masked.

    *legal_start* [C], *legal_end* [C], *legal* [C, C] (from, to): bool.
    """

    legal_start: Tensor
    legal_end: Tensor
    legal: Tensor

    def __init__(self, n_tags: int, legal_start: Tensor, legal_end: Tensor, legal: Tensor) -> None:
        super().__init__()
        assert legal_start.shape == legal_end.shape == (n_tags,)
        assert legal.shape == (n_tags, n_tags)
        self.start = nn.Parameter(torch.empty(n_tags).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(n_tags).uniform_(-0.1, 0.1))
        self.transitions = nn.Parameter(torch.empty(n_tags, n_tags).uniform_(-0.1, 0.1))
        # The masks follow from the tags' names, which are saved with the task.
        self.register_buffer("legal_start", legal_start.bool(), persistent=False)
        self.register_buffer("legal_end", legal_end.bool(), persistent=False)
        self.register_buffer("legal", legal.bool(), persistent=False)

    def negative_log_likelihood(
        self, emissions_NC: Tensor, tags_N: Tensor, cu: Tensor, weight_B: Tensor | None = None
    ) -> Tensor:
        """-log p(tags | emissions), summed over sequences (each times its *weight*): a scalar in fp32, whatever the
        emissions are.

        *cu* [B+1]: offsets of the sequences; empty ones add 0. A sequence whose own tags are illegal (noise in the
        data, or a window that begins within an entity) is scored with no mask at all: its loss is finite and of
        the usual size, and at least 0 like any other.
        """
        with torch.autocast(emissions_NC.device.type, enabled=False):
            kept = cu.diff() > 0
            cu = torch.cat([cu[:1], cu[1:][kept]])
            if len(cu) == 1:
                return emissions_NC.float().sum() + 0.0 * (self.start.sum() + self.end.sum() + self.transitions.sum())
            emissions_BLC, real_BL = pad(emissions_NC.to(_precise(emissions_NC.device)), cu)
            tags_BL, _ = pad(tags_N, cu)
            gold_B = self._path_score(emissions_BLC, tags_BL, real_BL)
            strict_B = self._is_legal(tags_BL, real_BL)
            loss_B = self._log_partition(emissions_BLC, real_BL, strict_B) - gold_B
            return (loss_B if weight_B is None else loss_B * weight_B[kept]).sum().float()

    def _is_legal(self, tags_BL: Tensor, real_BL: Tensor) -> Tensor:
        """Whether each sequence of tags is legal as a whole [B]."""
        pairs_BL = self.legal[tags_BL[:, :-1], tags_BL[:, 1:]] | ~real_BL[:, 1:]
        last_B = tags_BL.gather(1, real_BL.sum(1, keepdim=True) - 1).squeeze(1)
        return pairs_BL.all(1) & self.legal_start[tags_BL[:, 0]] & self.legal_end[last_B]

    def _path_score(self, emissions_BLC: Tensor, tags_BL: Tensor, real_BL: Tensor) -> Tensor:
        """The score [B] of given tags."""
        last_B1 = tags_BL.gather(1, real_BL.sum(1, keepdim=True) - 1)
        emitted_BL = emissions_BLC.gather(2, tags_BL[..., None]).squeeze(2)
        passed_BL = self.transitions[tags_BL[:, :-1], tags_BL[:, 1:]]
        ends_B = self.start[tags_BL[:, 0]] + self.end[last_B1.squeeze(1)]
        return ends_B + (emitted_BL * real_BL).sum(1) + (passed_BL * real_BL[:, 1:]).sum(1)

    def _log_partition(self, emissions_BLC: Tensor, real_BL: Tensor, strict_B: Tensor) -> Tensor:
        """The log [B] of the sum over all tag sequences (the forward algorithm), legal ones alone where `strict`.

        A step is a matrix product of exponentials, which needs C times less memory and time than a log-sum-exp over
        pairs of tags. In fp64 it holds states that are exp(700) times less likely than the likeliest.
        """
        dtype = emissions_BLC.dtype
        free_CC = self.transitions.to(dtype).exp()
        legal_CC = free_CC * self.legal
        alpha_BC = self.start + ILLEGAL * (strict_B[:, None] & ~self.legal_start) + emissions_BLC[:, 0]
        for at in range(1, emissions_BLC.shape[1]):
            highest_B1 = alpha_BC.detach().amax(1, keepdim=True)
            power_BC = (alpha_BC - highest_B1).exp()
            reached_BC = torch.where(strict_B[:, None], power_BC @ legal_CC, power_BC @ free_CC)
            log_BC = reached_BC.clamp_min(torch.finfo(dtype).tiny).log() + highest_B1
            alpha_BC = torch.where(real_BL[:, at, None], log_BC + emissions_BLC[:, at], alpha_BC)
        return torch.logsumexp(alpha_BC + self.end + ILLEGAL * (strict_B[:, None] & ~self.legal_end), dim=1)


def _precise(device: torch.device) -> torch.dtype:
    """fp64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
