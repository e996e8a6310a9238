"""A learned mixture of an encoder's layers (Peters et al. 2018, arXiv 1802.05365, equation 1).

Shape legend: T tokens, D hidden size, L layers, the embeddings included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScalarMix(nn.Module):
    """scale x sum over layers of softmax(weights) x layer. It starts as the plain mean of the layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weight_L = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Hidden states [T, D] from L of them, each [T, D], in their type."""
        assert len(layers) == len(self.weight_L), "an encoder gives its embeddings and the output of every layer"
        share_L = (self.scale * self.weight_L.softmax(dim=0)).to(layers[0].dtype)
        mixed_TD = layers[0] * share_L[0]
        for share, layer_TD in zip(share_L[1:], layers[1:], strict=True):
            mixed_TD = mixed_TD + layer_TD * share
        return mixed_TD
