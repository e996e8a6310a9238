"""Losses that compare vectors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from braid.nn.contrastive import hardest, info_nce, triplet


@pytest.fixture
def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(4, 6), torch.randn(7, 6)


def test_info_nce_is_the_cross_entropy_of_cosines(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    anchors, candidates = vectors
    own = torch.tensor([0, 1, 2, 3])
    cosines = torch.stack([F.cosine_similarity(anchors[k][None], candidates) for k in range(4)])
    expected = F.cross_entropy(cosines / 0.1, own, reduction="none")
    torch.testing.assert_close(info_nce(anchors, candidates, own, temperature=0.1), expected)
    torch.testing.assert_close(info_nce(anchors * 3, candidates * 0.5, own, temperature=0.1), expected)


def test_a_copy_of_the_own_pair_is_no_negative(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    anchors, candidates = vectors
    own = torch.tensor([0, 1, 2, 3])
    doubled = torch.cat([candidates, candidates[:1]])
    before, after = (info_nce(anchors, c, own, temperature=0.1) for c in (candidates, doubled))
    torch.testing.assert_close(after[0], before[0])
    assert (after[1:] >= before[1:]).all()


def test_triplets_and_the_hardest_negative(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    anchors, candidates = vectors
    allowed = torch.ones(4, 7, dtype=torch.bool)
    allowed[0] = False
    best, has = hardest(anchors, candidates, allowed)
    assert has.tolist() == [False, True, True, True]
    cosines = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).T
    assert best[1:].tolist() == cosines[1:].argmax(1).tolist()
    loss = triplet(anchors, anchors, candidates[best], margin=0.3)
    torch.testing.assert_close(loss[1:], (0.3 - 1 + cosines[1:].amax(1)).clamp(min=0))
