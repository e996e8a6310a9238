"""Which rows the encoder reads for which tasks: as few as give every task the tokens that it was trained on.

Tasks read inputs in different ways (in words, in windows, option by option, ...). Where these give the same tokens,
which is the rule for a text of ordinary length, one row serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from braid.data.cache import TokenRows, record_batch
from braid.data.example import Example, Window
from braid.data.groups import GroupData
from braid.data.windows import Layout, UnitKind

Reading = tuple[Layout, UnitKind]
Cut = Callable[[Sequence[Example], Layout, UnitKind], list[list[Window]]]
"""Examples -> the windows of each."""


def shared_rows(
    examples: Sequence[Example], reads: Mapping[str, Reading], members: Mapping[str, Sequence[int]], cut: Cut
) -> tuple[list[GroupData], list[list[int]]]:
    """Groups of rows to predict on, and which example each of their examples is. *reads*: how each task reads;
    *members*: the examples that it is asked for."""
    tasks_of: dict[Reading, list[str]] = {}
    for task in members:
        tasks_of.setdefault(reads[task], []).append(task)
    # Rows that can carry most stand first: windows before joint rows, rows with units before those without.
    order = sorted(tasks_of, key=lambda reading: (reading[0] == "joint", reading[1] == "none"))
    asked = {task: frozenset(numbers) for task, numbers in members.items()}
    windows: dict[Reading, dict[int, list[Window]]] = {}
    for reading in order:
        numbers = sorted(frozenset().union(*(asked[task] for task in tasks_of[reading])))
        found = cut([examples[number] for number in numbers], *reading)
        windows[reading] = dict(zip(numbers, found, strict=True))
    groups: list[GroupData] = []
    places: list[list[int]] = []
    carried: set[tuple[Reading, int]] = set()
    for place, host in enumerate(order):
        sets: dict[tuple[str, ...], list[int]] = {}
        for number, rows in windows[host].items():
            if (host, number) in carried:
                continue
            riders = [
                rider
                for rider in order[place + 1 :]
                if number in windows[rider] and (rider, number) not in carried
                if _rides(rider, windows[rider][number], host, rows)
            ]
            carried.update((rider, number) for rider in riders)
            aboard = [task for reading in (host, *riders) for task in tasks_of[reading] if number in asked[task]]
            sets.setdefault(tuple(aboard), []).append(number)
        for names, numbers in sets.items():
            chosen = TokenRows([record_batch(0, [windows[host][number] for number in numbers])])
            groups.append(GroupData(names, [examples[number] for number in numbers], chosen, host[1]))
            places.append(numbers)
    return groups, places


def _rides(rider: Reading, own: Sequence[Window], host: Reading, rows: Sequence[Window]) -> bool:
    """Whether a task that reads jointly finds all that it reads in the first of the host's rows."""
    units_agree = rider[1] == "none" or (rider[1] == host[1] and len(rows) == 1)
    return rider[0] == "joint" and units_agree and np.array_equal(own[0].ids, rows[0].ids)
