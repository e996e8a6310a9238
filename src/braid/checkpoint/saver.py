"""Writing while training goes on: one thread, one thing at a time."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

LEAST_URGENT = 19
"""The `nice` of the thread that writes: on a machine whose cores all train, training goes first."""


class Saver:
    """Runs writes in the order in which they come. The next one waits for the one before it, so that no more than one
    copy of the model is held."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="braid-save", initializer=_step_back)
        self._pending: Future[object] | None = None

    def wait(self) -> None:
        """Until everything is written. Raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def begin(self, prepare: Callable[[], Callable[[], object] | None]) -> None:
        """Prepare a write now (copies are made, processes meet), and let it be done. Raises what went wrong with the
        one before."""
        self.wait()
        write = prepare()
        if write is not None:
            self._pending = self._pool.submit(write)

    def close(self) -> None:
        """Write what is pending and end the thread."""
        self._pool.shutdown(wait=True)


def _step_back() -> None:
    """Let other threads go first. Linux alone has a priority for each thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_URGENT)
