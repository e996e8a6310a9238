"""A bar on standard error for what takes a while and is no training: reading, tokenising, predicting.

Where standard error is no terminal there is none, so that logs and pipes stay clean.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
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


LOG_SECONDS = 30
"""How often a count is written where there is no terminal."""


@contextmanager
def counting(console: Console | None = None) -> Iterator[Callable[[str, int, int | None], None]]:
    """For work that counts itself: a function to be told what is done, how much, and of how much (None: not known).

    A bar with the time that is left on a terminal; else a line now and then. *console*: None: standard error."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        last = time.monotonic()

        def line(description: str, done: int, total: int | None) -> None:
            nonlocal last
            if time.monotonic() - last > LOG_SECONDS:
                last = time.monotonic()
                share = f" ({done / total:.0%})" if total else ""
                print(description + share, file=sys.stderr, flush=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda description, done, total: progress.update(
            task, description=description, completed=done, total=total
        )
