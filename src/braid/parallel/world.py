"""The processes that train one model: this one alone, or as many as `torchrun` started.

Numbers and small objects go through gloo on the CPU, so that nothing here waits for an accelerator; gradients go
through DDP or FSDP (`braid.training.engine`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from braid.errors import BraidError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """*rank* of *size* processes; *local_rank*: the same among those of one machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and draws progress."""
        return self.rank == 0

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Sums over all processes, each of which gives as many numbers. Exact for whole numbers up to 2^53."""
        if self.size == 1 or not numbers:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """The first process's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all processes are here."""
        self.sum([0.0])

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process of each machine goes through this before the others: it fills caches that they read."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()


ALONE = World()


def started() -> World:
    """What `torchrun` said of this process in its environment. Raises BraidError where that makes no sense."""
    rank, size, local = _number("RANK", 0), _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    if not 0 <= rank < size:
        raise BraidError(f"RANK={rank} and WORLD_SIZE={size} in the environment do not go together; use torchrun")
    return World(rank, size, local)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise BraidError(f"the environment says {name}={text!r}, which is no number; use torchrun") from None
