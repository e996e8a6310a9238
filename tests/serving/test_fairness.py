"""Which rows make a batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from braid.serve.fairness import FairQueue, Ticket


def emptied(queue: FairQueue) -> list[list[tuple[Ticket, int]]]:
    out = []
    while batch := queue.take():
        out.append(batch)
    return out


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=30), max_size=8), st.integers(1, 64))
def test_every_row_is_in_one_batch_and_no_batch_exceeds_the_budget(sizes: list[list[int]], budget: int) -> None:
    queue = FairQueue(budget)
    tickets = [Ticket(number % 2, row) for number, row in enumerate(sizes)]
    for ticket in tickets:
        queue.add(ticket)
    assert queue.tokens == sum(map(sum, sizes))
    batches = emptied(queue)
    found = [(id(ticket), row) for batch in batches for ticket, row in batch]
    assert sorted(found) == sorted((id(ticket), row) for ticket in tickets for row in range(len(ticket.sizes)))
    for batch in batches:
        assert len({ticket.lane for ticket, _ in batch}) == 1
        assert len(batch) == 1 or sum(ticket.sizes[row] for ticket, row in batch) <= budget
    assert queue.tokens == 0


def test_a_small_request_does_not_wait_for_all_of_a_large_one() -> None:
    queue = FairQueue(100)
    large, small = Ticket("a", [10] * 1000), Ticket("a", [10])
    queue.add(large)
    queue.take()
    queue.add(small)
    assert any(ticket is small for _ in range(2) for ticket, _ in queue.take())


def test_rows_of_like_length_go_together() -> None:
    queue = FairQueue(100)
    queue.add(Ticket("a", [10]))
    queue.add(Ticket("a", [50, 12, 45, 9, 11]))
    first = queue.take()
    assert next(ticket.sizes[row] for ticket, row in first) == 10
    assert sorted(ticket.sizes[row] for ticket, row in first) == [9, 10, 11, 12, 45]


def test_the_oldest_row_is_never_passed_over() -> None:
    queue = FairQueue(100)
    old = Ticket("a", [90])
    queue.add(old)
    for _ in range(50):
        queue.add(Ticket("a", [10]))
    assert queue.take()[0][0] is old


def test_a_row_larger_than_the_budget_goes_alone() -> None:
    queue = FairQueue(10)
    queue.add(Ticket("a", [50, 5]))
    assert [[row for _, row in batch] for batch in emptied(queue)] == [[0], [1]]


def test_what_was_dropped_is_in_no_batch() -> None:
    queue = FairQueue(20)
    left, stays = Ticket("a", [10, 10, 10]), Ticket("a", [10])
    queue.add(left)
    queue.add(stays)
    queue.take()
    queue.drop(left)
    queue.drop(left)
    assert all(ticket is stays for batch in emptied(queue) for ticket, _ in batch)
    assert queue.tokens == 0
