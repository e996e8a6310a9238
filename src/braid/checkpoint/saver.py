"""Writing while training goes on: one thread, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saver:
    """Runs writes in the order in which they come. The next one waits for the one before it, so that no more than one
    copy of the model is held."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="braid-save")
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
