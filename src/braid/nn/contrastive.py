"""Losses that compare vectors of texts with each other.

Shape legend: A anchors, P pairs, N further negatives, K candidates (P + N), D size of a vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(anchor_AD: Tensor, candidate_KD: Tensor, own_A: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy [A] of each anchor's own candidate (place *own*) among all, by cosine / temperature (van den Oord
    et al. 2018, arXiv 1807.03748; for sentences Gao et al. 2021, arXiv 2104.08821). A candidate that is the very
    vector of an anchor's own does not count against it: the same text stands in the batch twice."""
    candidate_KD = F.normalize(candidate_KD.float(), dim=1)
    cosine_AK = F.normalize(anchor_AD.float(), dim=1) @ candidate_KD.T / temperature
    same_AK = (candidate_KD[own_A][:, None] == candidate_KD).all(dim=2)
    same_AK[torch.arange(len(own_A), device=own_A.device), own_A] = False
    return F.cross_entropy(cosine_AK.masked_fill(same_AK, -torch.inf), own_A, reduction="none")


def triplet(anchor_AD: Tensor, positive_AD: Tensor, negative_AD: Tensor, *, margin: float) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) [A], d being 1 - cosine (Schroff et al. 2015)."""
    near_A = F.cosine_similarity(anchor_AD.float(), positive_AD.float())
    far_A = F.cosine_similarity(anchor_AD.float(), negative_AD.float())
    return (margin - near_A + far_A).clamp(min=0)


def hardest(anchor_AD: Tensor, candidate_KD: Tensor, allowed_AK: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest allowed candidate of each anchor [A], by cosine, and whether it has any [A]."""
    with torch.no_grad():
        cosine_AK = F.normalize(anchor_AD.float(), dim=1) @ F.normalize(candidate_KD.float(), dim=1).T
        best_A = cosine_AK.masked_fill(~allowed_AK, -torch.inf).argmax(dim=1)
    return best_A, allowed_AK.any(dim=1)
