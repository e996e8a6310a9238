"""What stays is not looked through again and again; what was replaced goes."""

from __future__ import annotations

import gc
import weakref

from braid.serve.garbage import ENGINE, settle


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_what_was_thought_to_stay_goes_when_nobody_needs_it() -> None:
    before = gc.get_threshold()
    try:
        circle = Circle()
        seen = weakref.ref(circle)
        settle(ENGINE)
        assert gc.get_freeze_count() > 0
        del circle
        gc.collect()
        assert seen() is not None  # which is what makes the search short
        settle(ENGINE)
        assert seen() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
