"""When training ends before its time: signals and the time limit, the same in every process."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

ONE_PRESS = 1.0
"""Seconds within which signals are one and the same: `torchrun` passes on what its processes have heard themselves."""


class Stopping:
    """While inside, SIGINT and SIGTERM end training after the step under way; a second one ends it at once.

    *number*: the signal that came; *minutes*: how long training may take."""

    def __init__(self, minutes: float | None) -> None:
        self.number: int | None = None
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._came = 0.0
        self._before: dict[int, Any] = {}

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self._until is not None and time.monotonic() >= self._until

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._came = number, now
            # A signal comes in the middle of anything, an import or a line being drawn; only a bare write is safe here.
            os.write(2, b"\nstopping after this step and saving; once more to stop at once\n")
        elif now - self._came > ONE_PRESS:
            raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
