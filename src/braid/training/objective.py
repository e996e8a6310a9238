"""What a step minimises: a function from a batch to each task's summed loss.

The plain one is a forward pass. Others wrap one: they run it twice, disturb its input, or compare it with a teacher.
What they add belongs to a task and is a sum over its rows, as its loss is, so that counting and weighting stay the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from torch import Tensor

from braid.data.batch import Batch
from braid.model.network import BraidModel

Objective = Callable[[BraidModel, Batch, AbstractContextManager[object], Iterable[str]], dict[str, Tensor]]
"""(model, batch, scope, present) -> summed losses by task; arguments as in `BraidModel.losses`."""


def plain(
    model: BraidModel, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The tasks' own losses."""
    return model.losses(batch, scope, present)
