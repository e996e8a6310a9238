"""A linear-chain conditional random field (Lafferty et al. 2001) over ragged sequences laid flat.

Shape legend: N units of all sequences, B sequences, L units of the longest, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from braid.nn.segments import pad

ILLEGAL = -1e4
"""Score of a first or last tag that is forbidden: exp of it is 0, yet every gradient stays finite."""

FORBIDDEN = -1e12
"""Score in decoding of all that is forbidden, beyond what any sum of logits can outweigh. Not -inf: where no legal
sequence exists at all, the one with the fewest offences is found."""

DECODED_AT_ONCE = 64


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

    def decode(self, emissions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The best legal tag ids [U] for the emissions [U, C] of each sequence."""
        start, end, pairs = (
            np.where(mask.cpu().numpy(), score.detach().float().cpu().numpy(), FORBIDDEN)
            for score, mask in (
                (self.start, self.legal_start),
                (self.end, self.legal_end),
                (self.transitions, self.legal),
            )
        )
        order = sorted(range(len(emissions)), key=lambda k: len(emissions[k]))
        best: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(emissions)
        for first in range(0, len(order), DECODED_AT_ONCE):
            chunk = order[first : first + DECODED_AT_ONCE]
            for k, path in zip(chunk, viterbi([emissions[k] for k in chunk], start, end, pairs), strict=True):
                best[k] = path
        return best

    def chances(self, emissions: Sequence[np.ndarray], paths: Sequence[np.ndarray]) -> list[np.ndarray]:
        """How likely [U] each tag of a *path* [U] is where it stands, among all sequences of tags: its marginal
        probability. Legal sequences alone count, unless the path is none, as in the loss.

        It is the gradient of the log partition with respect to the tag's emission (Eisner 2016, Inside-Outside and
        Forward-Backward Algorithms Are Just Backprop)."""
        device = self.start.device
        order = sorted((k for k, path in enumerate(paths) if len(path)), key=lambda k: len(paths[k]))
        found: list[np.ndarray] = [np.empty(0)] * len(paths)
        for first in range(0, len(order), DECODED_AT_ONCE):
            chunk = order[first : first + DECODED_AT_ONCE]
            cu = torch.tensor(np.cumsum([0, *(len(paths[k]) for k in chunk)]), device=device)
            with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
                scores_NC, tags_N = (torch.tensor(np.concatenate([x[k] for k in chunk])) for x in (emissions, paths))
                scores_BLC, real_BL = pad(scores_NC.to(device, _precise(device)), cu)
                tags_BL, _ = pad(tags_N.to(device), cu)
                scores_BLC.requires_grad_()
                total = self._log_partition(scores_BLC, real_BL, self._is_legal(tags_BL, real_BL)).sum()
                (chances_BLC,) = torch.autograd.grad(total, [scores_BLC])
            chances_N = chances_BLC.gather(2, tags_BL[..., None]).squeeze(2)[real_BL].cpu().numpy()
            for k, chances_U in zip(chunk, np.split(chances_N, cu[1:-1].cpu().numpy()), strict=True):
                found[k] = chances_U
        return found


def _precise(device: torch.device) -> torch.dtype:
    """fp64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def viterbi(
    emissions: Sequence[np.ndarray], start_C: np.ndarray, end_C: np.ndarray, pairs_CC: np.ndarray
) -> list[np.ndarray]:
    """The best tag ids [U] of each sequence [U, C], all at once (Viterbi 1967): O(longest x C^2) steps of NumPy.

    *pairs* [C, C]: score of going from one tag to the next. Ties go to the lower id.
    """
    lengths = np.array([len(sequence) for sequence in emissions], dtype=np.int64)
    longest, n_tags = int(lengths.max(initial=0)), len(start_C)
    if longest == 0:
        return [np.empty(0, dtype=np.int64) for _ in emissions]
    scores_BLC = np.zeros((len(emissions), longest, n_tags), dtype=np.float64)
    for row, sequence in enumerate(emissions):
        scores_BLC[row, : len(sequence)] = sequence
    best_BC = start_C + scores_BLC[:, 0]
    back_LBC = np.broadcast_to(np.arange(n_tags, dtype=np.int32), (longest, len(emissions), n_tags)).copy()
    for at in range(1, longest):
        running = np.flatnonzero(lengths > at)
        reached_BCC = best_BC[running, :, None] + pairs_CC
        back_LBC[at, running] = reached_BCC.argmax(axis=1)
        best_BC[running] = reached_BCC.max(axis=1) + scores_BLC[running, at]
    paths_BL = np.empty((len(emissions), longest), dtype=np.int64)
    paths_BL[:, -1] = (best_BC + end_C).argmax(axis=1)
    rows = np.arange(len(emissions))
    for at in range(longest - 1, 0, -1):
        # Beyond a sequence's end the pointers lead to themselves, so that its last tag is carried to its place.
        paths_BL[:, at - 1] = back_LBC[at, rows, paths_BL[:, at]]
    return [path[:length] for path, length in zip(paths_BL, lengths.tolist(), strict=True)]
