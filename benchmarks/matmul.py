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


def peak(
    sizes: Sizes,
    tokens: int,
    dtype: torch.dtype,
    *,
    backward: bool,
    seconds: float = 3.0,
    device: torch.device | str = "cpu",
) -> float:
    """Floating-point operations a second of the products of one layer on *tokens* tokens, nothing else being done.
    *backward*: also those that give the gradients of input and weights."""
    shapes = [(1, tokens, one, other) for one, other in sizes.products]
    return peak_of(shapes, dtype, backward=backward, seconds=seconds, device=device)


def peak_of(
    shapes: Sequence[tuple[int, int, int, int]],
    dtype: torch.dtype,
    *,
    backward: bool,
    seconds: float = 3.0,
    device: torch.device | str = "cpu",
) -> float:
    """The same of products [count, rows, in] x [count, in, out], one after another."""
    where = torch.device(device)
    triples = []
    for count, rows, one, other in shapes:
        more = (count,) if count > 1 else ()
        sides = (*more, rows, one), (*more, other, one), (*more, rows, other)
        triples.append(tuple(torch.randn(shape, dtype=dtype, device=where) for shape in sides))

    def once() -> None:
        for given, weight, gradient in triples:
            given @ weight.mT
            if backward:
                gradient @ weight
                gradient.mT @ given
        if where.type == "cuda":
            torch.cuda.synchronize(where)

    with torch.inference_mode():
        for _ in range(5):
            once()
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            once()
            best = min(best, time.perf_counter() - began)
    work = sum(2 * count * rows * one * other for count, rows, one, other in shapes) * (3 if backward else 1)
    return work / best
