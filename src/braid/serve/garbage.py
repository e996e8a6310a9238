"""Python's search for garbage that is a circle, kept short."""

from __future__ import annotations

import gc

OBJECTS = 20_000
"""New objects after which Python looks for garbage. A batch makes some thousand of them."""


def settle() -> None:
    """Tell the garbage collector that what is there now will stay. To look through all of it takes a quarter of a
    second, in which no thread goes on. What was told so before is looked through once more: a model that was replaced
    is garbage now."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
