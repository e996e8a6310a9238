"""Dropout with random numbers that cost little on a CPU.

torch draws a CPU's masks one number at a time in one thread, which takes longer than many a matrix product. Here a
fast generator (SFC64), seeded for each mask by torch's own, gives 16 bits for each value: the state of torch's
generator still decides all, so runs are resumed and reproduced as before.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

VALUES = 1 << 16
"""Values of one random number: the rate is met to within half of 1 / VALUES, and the scale is that of the rate met."""


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout` (Srivastava et al. 2014), with other masks on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return F.dropout(input, self.p, self.training)
        return dropped(input, self.p)


def dropped(values: Tensor, rate: float) -> Tensor:
    """*values* with a share `rate` of them set to zero at random and the others scaled up, on the CPU."""
    if round(rate * VALUES) == 0 or values.numel() == 0:
        return values
    return values * mask(values.shape, values.dtype, rate)


def mask(shape: torch.Size, dtype: torch.dtype, rate: float) -> Tensor:
    """What values are to be multiplied by: 0 for a share `rate` of them at random, for the others what makes up for
    it. On the CPU."""
    below = round(rate * VALUES)
    number = shape.numel()
    if below in (0, VALUES) or number == 0:
        return torch.full(shape, 0.0 if below else 1.0, dtype=dtype)
    seed = int(torch.randint(1 << 62, ()))
    draws = np.random.SFC64(seed).random_raw(-(-number // 4)).view(np.int16)[:number]
    kept = torch.from_numpy(draws).view(shape) >= below - VALUES // 2
    return kept.to(dtype).mul_(VALUES / (VALUES - below))
