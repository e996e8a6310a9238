"""What happens once, before the first request: kernels are compiled for every size of batch that can come.

oneDNN compiles a kernel for each number of places, for some 10 ms a product, and keeps it. A server that met them one
by one would answer slowly now and then for its first minutes, and grow meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from braid.nn.linear import places
from braid.serve.jobs import Asked, Together

ROW = 40
"""Tokens of the rows that a batch is made of."""


def sizes(budget: int) -> list[int]:
    """The numbers of places that batches of up to *budget* tokens have on a CPU."""
    return sorted({places(tokens) for tokens in range(1, budget + 1)})


def compiles(predictor: Any) -> bool:
    """Whether a predictor's kernels are compiled for each size: in bf16 on a CPU."""
    device = getattr(getattr(predictor, "device", None), "type", None)
    return device == "cpu" and getattr(predictor, "precision", None) == "bf16"


def warm(work: Together, budget: int) -> None:
    """One batch of each size, the smallest first."""
    for texts in batches(work, budget):
        jobs = [work.read(Asked([text]))[0] for text in texts]
        work.compute([(job, 0) for job in jobs])
        work.tell(jobs)


def batches(work: Together, budget: int) -> Iterator[list[str]]:
    """Texts for each of the sizes, as near to it as words of the same length come."""
    one, two = (sum(work.read(Asked([text]))[1]) for text in (_text(1), _text(2)))
    word = two - one
    if one == 0 or word <= 0:  # no task reads a plain text
        return
    row = max(one, min(ROW, int(work.predictor.max_length)))
    for size in sizes(budget):
        rows = -(-size // row)
        words = 1 + max(0, (size // rows - one) // word)
        yield [_text(words)] * rows


def _text(words: int) -> str:
    return " ".join(["a"] * words)
