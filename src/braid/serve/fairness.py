"""What waits to be computed, and in which order it goes: a plain data structure, no thread and no clock.

A batch takes the row whose turn it is, and with it rows of like length, up to a budget of tokens. Whose turn it is
follows start-time fair queueing (Goyal, Vin and Cheng, 1996): each row has a tag, the tokens that its request has had
before it, counted from when it came; a request with one row need not wait for all of another's thousand.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

POOL = 4
"""Budgets of tokens, from the head of the queue, among which rows of like length are looked for."""


@dataclass(eq=False)
class Ticket:
    """A request that waits. *lane*: what can share a batch; *sizes*: tokens of each of its rows; *payload*: whatever
    its owner wants to find again."""

    lane: Hashable
    sizes: Sequence[int]
    payload: object = None
    dropped: bool = False
    waiting: int = 0
    """Tokens that no batch has taken yet."""
    left: int = field(init=False)
    """Rows that are not answered yet."""

    def __post_init__(self) -> None:
        self.left = len(self.sizes)


class _Row(NamedTuple):
    """Compared as the tuple that it is, by its first two fields: no two have the same number."""

    tag: int
    number: int
    """Of rows with equal tags, the one that came first."""
    ticket: Ticket
    row: int
    size: int


class FairQueue:
    """Rows that wait. Not safe for threads: its owner locks."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.tokens = 0
        """Tokens that wait."""
        self._heap: list[_Row] = []
        self._clock = 0
        self._count = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, ticket: Ticket) -> None:
        """Let all rows of a ticket wait."""
        tag = self._clock
        for row, size in enumerate(ticket.sizes):
            heapq.heappush(self._heap, _Row(tag, next(self._count), ticket, row, size))
            tag += size
        ticket.waiting = sum(ticket.sizes)
        self.tokens += ticket.waiting

    def drop(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: its rows will be in no batch."""
        if not ticket.dropped:
            ticket.dropped = True
            self.tokens -= ticket.waiting
            ticket.waiting = 0

    def take(self) -> list[tuple[Ticket, int]]:
        """The next batch, empty where nothing waits: rows of one lane, the first of them the one whose turn it is. A
        row that is larger than the budget goes alone."""
        pool, others, held = list[_Row](), list[_Row](), 0
        while self._heap and held < POOL * self.budget and len(others) < len(pool) + self.budget:
            row = heapq.heappop(self._heap)
            if row.ticket.dropped:
                continue
            if pool and row.ticket.lane != pool[0].ticket.lane:
                others.append(row)
                continue
            pool.append(row)
            held += row.size
        chosen = _alike(pool, self.budget)
        taken = {row.number for row in chosen}
        for row in (*others, *(row for row in pool if row.number not in taken)):
            heapq.heappush(self._heap, row)
        for row in chosen:
            row.ticket.waiting -= row.size
            self.tokens -= row.size
        if chosen:
            self._clock = max(self._clock, chosen[0].tag)
        return [(row.ticket, row.row) for row in chosen]


def _alike(pool: Sequence[_Row], budget: int) -> list[_Row]:
    """The first row of the pool and those nearest to it in length, as the budget allows."""
    if sum(row.size for row in pool) <= budget:
        return list(pool)
    first = pool[0]
    ordered = sorted(pool, key=lambda row: (row.size, row.tag, row.number))
    low = high = ordered.index(first)
    total = first.size
    while True:
        below = ordered[low - 1] if low > 0 else None
        above = ordered[high + 1] if high + 1 < len(ordered) else None
        if below is not None and (above is None or first.size - below.size <= above.size - first.size):
            if total + below.size > budget:
                break
            low, total = low - 1, total + below.size
        elif above is not None:
            if total + above.size > budget:
                break
            high, total = high + 1, total + above.size
        else:
            break
    return [first, *(row for row in ordered[low : high + 1] if row is not first)]
