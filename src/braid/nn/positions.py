"""How a layer knows where a token stands: waves added to embeddings, rotated queries and keys, biased scores.

Shape legend: T tokens, H heads, E size of a head, b rows of a block, L its longest row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from braid.data.batch import AttentionBlock


def sinusoids(positions: int, size: int, device: torch.device | None = None) -> Tensor:
    """Position encodings [positions, size] of Vaswani et al. (2017), section 3.5: sines, then cosines."""
    return waves(torch.arange(positions, device=device), size)


def waves(positions_T: Tensor, size: int) -> Tensor:
    """`sinusoids` at these positions alone: [T, size]."""
    half = (size + 1) // 2
    rates = torch.exp(torch.arange(half, device=positions_T.device) * (-math.log(10_000) / max(half - 1, 1)))
    angles = positions_T[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :size]


Rotation = tuple[Tensor, Tensor]
"""Cosines and sines [T, 1, 1, E/2] of the angles by which each token's queries and keys are turned."""


def rotation(positions_T: Tensor, size: int, theta: float) -> Rotation:
    """The angles of rotary positions (Su et al. 2021, arXiv 2104.09864): pair k of a head of *size* E turns by
    `theta ** (-2k / E)` a position."""
    rates = 1.0 / theta ** (torch.arange(0, size, 2, device=positions_T.device).float() / size)
    angles = (positions_T.float()[:, None] * rates)[:, None, None]
    return angles.cos(), angles.sin()


def rotate(qkv_T3HE: Tensor, turn: Rotation) -> Tensor:
    """Queries and keys turned, values as they were: [T, 3, H, E]; what stands behind the last angle is left out. A pair
    is dimension k and k + E/2 of a head, as most published weights have it."""
    cos, sin = turn
    if not torch.compiler.is_exporting():
        qkv_T3HE = qkv_T3HE[: len(cos)]
    # In half precision the angles of far positions would fall together.
    one, other = qkv_T3HE[:, :2].float().chunk(2, dim=-1)
    turned = torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
    return torch.cat([turned.to(qkv_T3HE.dtype), qkv_T3HE[:, 2:]], dim=1)


def buckets(distance: Tensor, *, count: int = 32, farthest: int = 128) -> Tensor:
    """The bucket of each distance key - query (T5, Raffel et al. 2020, arXiv 1910.10683, section 2.1): half of them for
    keys that come after; of each half, one half for one distance each, the rest for ranges that grow to `farthest`."""
    side, single = count // 2, count // 4
    length = distance.abs()
    growth = torch.log(length.clamp(min=1).float() / single) / math.log(farthest / single)
    ranged = (single + (growth * (side - single)).long()).clamp(max=side - 1)
    return torch.where(length < single, length, ranged) + side * (distance > 0)


class RelativeBias(nn.Module):
    """What is added to attention scores for the distance of key and query: one learned number for each bucket of
    distances and head, the same in all layers, as in T5."""

    def __init__(self, heads: int, count: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(count, heads)

    def forward(self, blocks: Sequence[AttentionBlock]) -> list[Tensor]:
        """*Shape*: [1, H, L, L] for each block, [b, H, L, L] with minus infinity at padding where it has any."""
        if torch.compiler.is_exporting():
            return [self._of_rectangle(block) for block in blocks]
        longest = max(block.longest for block in blocks)
        distance = torch.arange(1 - longest, longest, device=self.table.weight.device)
        by_distance = self.table(buckets(distance, count=self.table.num_embeddings)).T
        out = []
        for block in blocks:
            near = by_distance[:, longest - block.longest : longest + block.longest - 1]
            # Row i of the square begins at distance -i, which stands i places before the middle.
            bias = near.unfold(1, block.longest, 1).flip(1)[None]
            if block.keep is not None:
                bias = bias.masked_fill(~block.keep[:, None, None, :], -math.inf)
            out.append(bias)
        return out

    def _of_rectangle(self, block: AttentionBlock) -> Tensor:
        """The same, where the longest row's length is a symbol."""
        place_L = torch.arange(block.longest, device=self.table.weight.device)
        found_LLH = self.table(buckets(place_L - place_L[:, None], count=self.table.num_embeddings))
        bias = found_LLH.permute(2, 0, 1)[None]
        return bias if block.keep is None else bias.masked_fill(~block.keep[:, None, None, :], -math.inf)
