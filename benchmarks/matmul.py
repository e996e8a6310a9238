"""The limit: how fast this machine multiplies matrices of a model's own shapes, and how many of them a model needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sizes:
    """Of an encoder: what decides how many products its matrices need."""

    layers: int = 4
    hidden: int = 512
    inner: int = 2048
    heads: int = 8
    vocabulary: int = 21128

    @property
    def products(self) -> list[tuple[int, int]]:
        """Of one layer: [in, out] of each matrix that every token meets."""
        return [
            (self.hidden, 3 * self.hidden),
            (self.hidden, self.hidden),
            (self.hidden, self.inner),
            (self.inner, self.hidden),
        ]

    def flops(self, lengths: Sequence[int], predicted: int = 0) -> float:
        """Floating-point operations of the matrix products of a forward pass over rows of these lengths, attention's
        among them; *predicted*: tokens whose logits over the vocabulary are computed (and BERT's transform)."""
        each = sum(2 * one * other for one, other in self.products)
        attention = sum(4 * self.hidden * length * length for length in lengths)
        logits = 2 * predicted * (self.hidden * self.hidden + self.hidden * self.vocabulary)
        return self.layers * (each * sum(lengths) + attention) + logits


def peak(sizes: Sizes, tokens: int, dtype: torch.dtype, *, backward: bool, seconds: float = 3.0) -> float:
    """Floating-point operations a second of the products of one layer on *tokens* tokens, nothing else being done.
    *backward*: also those that give the gradients of input and weights."""
    pairs = []
    for one, other in sizes.products:
        shapes = (tokens, one), (other, one), (tokens, other)
        pairs.append(tuple(torch.randn(shape, dtype=dtype) for shape in shapes))

    def once() -> None:
        for given, weight, gradient in pairs:
            given @ weight.T
            if backward:
                gradient @ weight
                gradient.T @ given

    with torch.inference_mode():
        for _ in range(5):
            once()
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            once()
            best = min(best, time.perf_counter() - began)
    work = sum(2 * tokens * one * other for one, other in sizes.products) * (3 if backward else 1)
    return work / best
