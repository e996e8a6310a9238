"""A bar on standard error for what takes a while and is no training: reading, tokenising, predicting.

Where standard error is no terminal there is none, so that logs and pipes stay clean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def bar(
    items: Iterable[T], description: str, *, total: int | None = None, console: Console | None = None
) -> Iterator[T]:
    """The items themselves, counted by a bar while they are taken; the bar goes away at the end.

    *total*: how many there will be; None: as many as `items` has, if it knows. *console*: None: standard error."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)
