"""Python's search for garbage that is a circle, kept short."""

from __future__ import annotations

import gc

ENGINE = (20_000, 10, 10)
"""New objects after which Python looks among them for garbage; after how many such looks it does among older ones, and
after how many of those among all (`gc.set_threshold`). A batch makes some thousand objects."""
FRONT = (2_000, 20, 100)
"""Short looks, and seldom long ones: a look among 20,000 objects takes the front 5 ms, one among all that a thousand
requests hold 40 ms."""


def settle(thresholds: tuple[int, int, int]) -> None:
    """Tell the garbage collector that what is there now will stay. To look through all of it takes a quarter of a
    second, in which no thread goes on. What was told so before is looked through once more: a model that was replaced
    is garbage now."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)
