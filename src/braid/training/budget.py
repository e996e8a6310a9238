"""`batch_tokens: auto`: how many tokens of a batch a GPU's memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from braid.config.training import BATCH_TOKENS, TrainConfig
from braid.data.changes import Draw
from braid.data.groups import GroupData, make_batch
from braid.errors import BraidError
from braid.model.inference import Precision
from braid.model.network import BraidModel
from braid.model.precision import autocast
from braid.parallel.world import World
from braid.training.trouble import is_out_of_memory

LARGEST = 1 << 18
MARGIN = 0.85
"""Share of what fits that is used: other batches may be less even than the one that was tried."""


def find_budget(
    model: BraidModel,
    groups: Sequence[GroupData],
    config: TrainConfig,
    device: torch.device,
    precision: Precision,
    world: World,
) -> int:
    """Tokens of a global batch: as many as fit one process's memory, times processes and `accumulate`. On a CPU, where
    larger batches gain nothing, 4096.

    Raises BraidError where not even the longest row fits."""
    if device.type != "cuda" or not any(len(group.rows) for group in groups):
        return BATCH_TOKENS
    passes = 1 + sum(regulariser.graphs for regulariser in config.regularisers)
    found = largest_that_fits(lambda tokens: _fits(model, groups, tokens, device, precision, passes), start=1024)
    here = min(found, *(world.gather(found)))
    return here * world.size * config.accumulate


def largest_that_fits(fits: Callable[[int], bool], *, start: int) -> int:
    """The largest number of tokens, less a margin, for which `fits` holds: doubled from *start* until it does not,
    then halved between. Raises BraidError where *start* / 16 does not fit."""
    low = start
    while not fits(low):
        low //= 2
        if low < start // 16:
            raise BraidError(
                "train.batch_tokens: auto: the memory does not hold a single row; use a smaller encoder.max_length, "
                "train.activation_checkpointing=true or a smaller encoder"
            )
    high = low * 2
    while high <= LARGEST and fits(high):
        low, high = high, high * 2
    while high - low > low // 8:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return max(1, int(low * MARGIN))


def _fits(
    model: BraidModel, groups: Sequence[GroupData], tokens: int, device: torch.device, precision: Precision, passes: int
) -> bool:
    """Whether a step's memory is there for the longest rows, beside what the optimiser will hold. *passes*: how many
    forward passes are kept for one backward pass."""
    try:
        state = sum(parameter.numel() * 8 for parameter in model.parameters())
        held = torch.empty(state, dtype=torch.uint8, device=device)
        batch = make_batch(groups, longest_rows(groups, tokens), draw=Draw(0, 0, 0)).to(device)
        found = [model.losses(batch, autocast(precision, device)) for _ in range(passes)]
        torch.stack([value for losses in found for value in losses.values() if value.requires_grad]).sum().backward()
        del held
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return True


def longest_rows(groups: Sequence[GroupData], tokens: int) -> list[tuple[int, int]]:
    """The longest rows of all groups, as many as the budget holds (at least one; again from the first where there are
    too few)."""
    sizes = np.concatenate([group.rows.lengths for group in groups])
    members = np.repeat(np.arange(len(groups)), [len(group.rows) for group in groups])
    rows = np.concatenate([np.arange(len(group.rows)) for group in groups])
    order = np.argsort(-sizes, kind="stable")
    chosen: list[tuple[int, int]] = []
    used = 0
    while True:
        for k in order:
            if chosen and used + int(sizes[k]) > tokens:
                return chosen[::-1]
            chosen.append((int(members[k]), int(rows[k])))
            used += int(sizes[k])
