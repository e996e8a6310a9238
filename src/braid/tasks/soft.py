"""Learning from a teacher: what task types with classes share.

Shape legend: R rows, N logit vectors of them (one a row, or one a unit), M of these with a teacher, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from braid.config.variant import Config
from braid.data.batch import Targets
from braid.data.soft_labels import teacher_logits

SoftLoss = Callable[..., Tensor]
"""(logits [M, C], teacher [M, C], kind, temperature) -> [M]."""


class Soft(Config):
    """How a row's teacher logits or probabilities are learned from: loss = (1 - alpha) hard + alpha soft. A row that
    has only one of the two learns from that one alone."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """Share of the soft loss."""

    temperature: float = Field(default=2.0, gt=0)
    """What both sides' logits are divided by first: the higher, the more unlikely labels count."""

    loss: Literal["kl", "mse"] = "kl"
    """Kullback-Leibler divergence, or the squared difference of logits."""


def teacher_target(
    label: Any, facts: dict[str, Any], part: slice | None = None, *, independent: bool = False
) -> dict[str, np.ndarray]:
    """`teacher` [C], or [units x C] flat of the units `part`; [0] where this row has none; no key where no row of the
    task has."""
    if not facts.get("soft"):
        return {}
    logits = teacher_logits(label, facts["labels"], independent=independent)
    if logits is None:
        return {"teacher": np.empty(0, np.float32)}
    return {"teacher": (logits if part is None else logits[part]).reshape(-1)}


def taught(
    logits_NC: Tensor, targets: Targets, has_hard_R: Tensor, sizes_R: Tensor, soft: Soft, loss: SoftLoss
) -> tuple[Tensor, Tensor]:
    """What the hard loss of each row is to be multiplied by [R], and the soft loss, summed over all.

    *has_hard* [R]: which rows have a label of their own; *sizes* [R]: logit vectors of each."""
    weight_R = torch.ones(len(sizes_R), device=logits_NC.device)
    teacher = targets.values.get("teacher")
    if teacher is None or not len(teacher):
        return weight_R, logits_NC.new_zeros((), dtype=torch.float32)
    has_teacher_R = targets.cu["teacher"].diff() > 0
    share_R = torch.where(has_hard_R, soft.alpha, 1.0) * has_teacher_R
    of_teacher_N = torch.repeat_interleave(has_teacher_R, sizes_R)
    share_N = torch.repeat_interleave(share_R, sizes_R)
    loss_M = loss(
        logits_NC[of_teacher_N],
        teacher.view(-1, logits_NC.shape[1]),
        kind=soft.loss,
        temperature=soft.temperature,
    )
    return weight_R - share_R * has_hard_R, (loss_M * share_N[of_teacher_N]).sum()
