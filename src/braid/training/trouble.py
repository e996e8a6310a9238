"""What a step can run into, said so that the user knows what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from braid.data.batch import Batch
from braid.data.groups import GroupData
from braid.errors import BraidError

SHOWN = 8
"""Rows of a batch that a message names."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (where torch has no class for it)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def out_of_memory(batches: Sequence[Batch], groups: Sequence[GroupData], error: BaseException) -> BraidError:
    """The error for a step that did not fit."""
    largest = max(batches, key=lambda batch: batch.n_tokens)
    group, row = max(largest.origins, key=lambda at: int(groups[at[0]].rows.lengths[at[1]]))
    return BraidError(
        f"out of memory on a batch of {largest.n_tokens:,} tokens in {largest.n_rows:,} rows of the tasks "
        f"{', '.join(sorted(largest.targets))}; its longest row has {largest.max_length:,} tokens "
        f"({place(groups, group, row)}).\n    Set train.accumulate=2 or more (the same gradient from smaller parts), "
        f"train.activation_checkpointing=true, a smaller train.batch_tokens or a smaller encoder.max_length.\n"
        f"    {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    )


def not_finite(
    steps: int, losses: Mapping[str, float], batches: Sequence[Batch], groups: Sequence[GroupData]
) -> BraidError:
    """The error for many steps in a row without a finite gradient."""
    rows = [origin for batch in batches for origin in batch.origins]
    named = ", ".join(place(groups, group, row) for group, row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return BraidError(
        f"{steps} steps in a row had no finite gradient (train.max_bad_steps). Losses of the last one: "
        f"{shown(losses)}; its rows: {named}{more}.\n"
        "    Try a lower train.lr, train.clip=1.0 or train.precision=fp32, and look at these rows."
    )


def shown(losses: Mapping[str, float]) -> str:
    """`ner 0.12, topic nan`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())


def place(groups: Sequence[GroupData], group: int, row: int) -> str:
    """Where a row comes from, with its tasks."""
    found = groups[group]
    where = found.place(row)
    return f"{where or f'row {row}'} of {' & '.join(found.tasks)}"
