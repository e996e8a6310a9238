"""Deep biaffine attention (Dozat and Manning 2017, arXiv 1611.01734): a score for each word and each head it may have.

Shape legend: N words of all rows, b rows of one bucket, L the most words of them, H = L + 1 heads (the root first),
P (word, head) pairs of all rows, D hidden size, A arc size, E relation size + 1, C relations, X = C * E, Y = L * C.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.nn.dropout import Dropout
from braid.nn.linear import Linear

WASTE = 0.5
"""Padding that one bucket may hold, as a share of its real pairs. Less would mean more calls of small products."""


class Mlp(nn.Module):
    """Linear, leaky ReLU, dropout."""

    def __init__(self, inner: int, outer: int, *, dropout: float) -> None:
        super().__init__()
        self.linear = Linear(inner, outer)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inner] -> [..., outer]."""
        return self.dropout(F.leaky_relu(self.linear(x), 0.1))


class BiaffineArcs(nn.Module):
    """Scores of arcs and of their relations, for all pairs of a word and a head.

    A word has four vectors, each of an MLP of its own: as dependent and as head, for arcs and for relations. The
    root, as a head, has a learned vector in place of hidden states.
    """

    def __init__(self, hidden_size: int, relations: int, *, arc_size: int, relation_size: int, dropout: float) -> None:
        super().__init__()
        self.relations = relations
        self.root = nn.Parameter(torch.empty(hidden_size).normal_(std=hidden_size**-0.5))
        self.dropout = Dropout(dropout)
        self.arc_dependent = Mlp(hidden_size, arc_size, dropout=dropout)
        self.arc_head = Mlp(hidden_size, arc_size, dropout=dropout)
        self.relation_dependent = Mlp(hidden_size, relation_size, dropout=dropout)
        self.relation_head = Mlp(hidden_size, relation_size, dropout=dropout)
        # Both bilinear forms begin as a linear layer of the dependent. Its bias becomes what a head scores whatever
        # the dependent is; the 1 added to a head's vector becomes what a dependent's relation scores whatever the
        # head is. (Of arcs that would be the same for all heads, and change nothing.)
        self.arc = Linear(arc_size, arc_size)
        self.relation = Linear(relation_size, relations * (relation_size + 1))
        for layer, size in ((self.arc, arc_size), (self.relation, relation_size)):
            nn.init.normal_(layer.weight, std=1 / size)
            nn.init.zeros_(layer.bias)

    def forward(self, words_ND: Tensor, sizes: Sequence[int]) -> Tensor:
        """Scores [P, 1 + C]: of the arc, then of each relation.

        *words*: the words of all rows, row after row, `sizes` of them in each. Pairs stand row after row, by word,
        then by head; a row of n words has n * (n + 1).
        """
        words_ND = self.dropout(words_ND)
        heads_ND = torch.cat([self.root[None].to(words_ND.dtype), words_ND])
        arc_NA = self.arc(self.arc_dependent(words_ND))
        relation_NX = self.relation(self.relation_dependent(words_ND))
        arc_heads_NA = self.arc_head(heads_ND)
        relation_heads_NE = F.pad(self.relation_head(heads_ND), (0, 1), value=1.0)
        # Scores are compared over whole sentences: bfloat16 would make many of them equal.
        with torch.autocast(words_ND.device.type, enabled=False):
            return self._products(
                arc_NA.float(), arc_heads_NA.float(), relation_NX.float(), relation_heads_NE.float(), sizes
            )

    def of_rectangle(self, words_bLD: Tensor) -> Tensor:
        """The same scores [b * L * H, 1 + C] of rows that all have L words."""
        rows, longest, _ = words_bLD.shape
        root_b1D = self.root.to(words_bLD.dtype).expand(rows, 1, -1)
        heads_bHD = torch.cat([root_b1D, words_bLD], dim=1)
        arc_bLH = self.arc(self.arc_dependent(words_bLD)) @ self.arc_head(heads_bHD).mT
        relation_heads_bHE = F.pad(self.relation_head(heads_bHD), (0, 1), value=1.0)
        relation_bYE = self.relation(self.relation_dependent(words_bLD)).reshape(
            rows, longest * self.relations, relation_heads_bHE.shape[2]
        )
        relation_bLCH = (relation_bYE @ relation_heads_bHE.mT).view(rows, longest, self.relations, longest + 1)
        both_bLCH = torch.cat([arc_bLH[:, :, None], relation_bLCH], dim=2)
        return both_bLCH.mT.reshape(rows * longest * (longest + 1), 1 + self.relations)

    def _products(
        self, arc_NA: Tensor, arc_heads_NA: Tensor, relation_NX: Tensor, relation_heads_NE: Tensor, sizes: Sequence[int]
    ) -> Tensor:
        """Scores [P, 1 + C] from the vectors of dependents and of heads, bucket by bucket."""
        found = list(buckets(sizes))
        if not found:
            return torch.cat([arc_NA, relation_NX], dim=1)[:, : 1 + self.relations]
        # One gather for all buckets: each would cost a gradient of full size.
        arcs = _gather(arc_NA, [bucket.dependents_bL for bucket in found])
        arc_heads = _gather(arc_heads_NA, [bucket.heads_bH for bucket in found])
        relations = _gather(relation_NX, [bucket.dependents_bL for bucket in found])
        relation_heads = _gather(relation_heads_NE, [bucket.heads_bH for bucket in found])
        scores: list[Tensor] = []
        places = [np.zeros(0, dtype=np.int64)] * len(sizes)
        padded = 0
        for k, bucket in enumerate(found):
            b, L = bucket.dependents_bL.shape
            arc_bLH = arcs[k] @ arc_heads[k].mT
            relation_bYH = relations[k].reshape(b, L * self.relations, -1) @ relation_heads[k].mT
            both_bLCH = torch.cat([arc_bLH[:, :, None], relation_bYH.view(b, L, self.relations, L + 1)], dim=2)
            scores.append(both_bLCH.mT.reshape(b * L * (L + 1), -1))
            for row, place in zip(bucket.rows, bucket.places, strict=True):
                places[row] = place + padded
            padded += len(scores[-1])
        return torch.cat(scores)[torch.from_numpy(np.concatenate(places)).to(arc_NA.device)]


def _gather(vectors: Tensor, indices: Sequence[np.ndarray]) -> list[Tensor]:
    """`vectors[index]` for each index, of any shape."""
    flat = torch.from_numpy(np.concatenate([index.ravel() for index in indices])).to(vectors.device)
    parts = vectors[flat].split([index.size for index in indices])
    return [part.view(*index.shape, -1) for part, index in zip(parts, indices, strict=True)]


@dataclass(frozen=True)
class Bucket:
    """Rows of similar length. *dependents* [b, L]: the words of each row, *heads* [b, L + 1]: their places among the
    root and the words; both are filled up with a row's last word. *places*: for each row, where its real pairs are in
    the flattened [b * L * (L + 1)]."""

    rows: list[int]
    dependents_bL: np.ndarray
    heads_bH: np.ndarray
    places: list[np.ndarray]


def buckets(sizes: Sequence[int], *, waste: float = WASTE) -> Iterator[Bucket]:
    """All rows that have words, the shortest first, so that no bucket has more than `waste` padding."""
    starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    order = sorted((row for row, size in enumerate(sizes) if size), key=lambda row: sizes[row])
    first = 0
    while first < len(order):
        last, real = first, 0
        while last < len(order):
            size = sizes[order[last]]
            pairs = size * (size + 1)
            if pairs * (last - first + 1) > (real + pairs) * (1 + waste):
                break
            real, last = real + pairs, last + 1
        yield _bucket(order[first:last], [sizes[row] for row in order[first:last]], starts)
        first = last


def _bucket(rows: list[int], sizes: list[int], starts: np.ndarray) -> Bucket:
    longest = sizes[-1]
    within_bL = np.minimum(np.arange(longest), np.array(sizes)[:, None] - 1)
    dependents_bL = starts[rows][:, None] + within_bL
    heads_bH = np.concatenate([np.zeros((len(rows), 1), np.int64), dependents_bL + 1], axis=1)
    grid_LH = np.arange(longest * (longest + 1)).reshape(longest, longest + 1)
    places = [grid_LH[:size, : size + 1].ravel() + k * grid_LH.size for k, size in enumerate(sizes)]
    return Bucket(rows, dependents_bL, heads_bH, places)
