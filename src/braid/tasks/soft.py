"""Learning from a teacher: what task types share that can.

What a teacher says stands among a task's targets, `teacher`, whether rows brought it or a teacher in memory was asked.

Shape legend: R rows, N logit vectors of them (one a row, or one a unit), M of these with a teacher, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from braid.config.variant import Config
from braid.data.batch import Targets
from braid.data.soft_labels import teacher_logits
from braid.errors import LabelError

Translate = Callable[[Tensor], Tensor]
"""A teacher's logits [N, C] as they would be if its task had learned what ours has."""

SoftLoss = Callable[..., Tensor]
"""(logits [M, C], teacher [M, C], kind, temperature) -> [M]."""


class Share(Config):
    """How much a teacher counts: loss = (1 - alpha) hard + alpha soft. A row that has only one of the two learns from
    that one alone."""

    alpha: Annotated[float, Field(ge=0, le=1)] | Literal["annealed"] = 0.5
    """Share of the soft loss. `annealed`: it falls in a line from 1 at the first step to 0 at the last (BAM's teacher
    annealing, arXiv 1907.04829)."""


class Soft(Share):
    """How a teacher's logits or probabilities are learned from: loss = (1 - alpha) hard + alpha soft. A row that has
    only one of the two learns from that one alone."""

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


def share_of(alpha: float | Literal["annealed"], targets: Targets, like: Tensor) -> Tensor:
    """A teacher's share [R], or of all rows alike. Training says beside the targets how far annealing has come; at its
    beginning the share is 1."""
    found = targets.values.get("alpha")
    return found if found is not None else like.new_tensor(1.0 if isinstance(alpha, str) else alpha)


def with_alpha(targets: Targets, alpha: float) -> Targets:
    """Targets of a step at which annealing has come to *alpha*."""
    rows = targets.rows
    values = {**targets.values, "alpha": torch.full((len(rows),), alpha, dtype=torch.float32, device=rows.device)}
    return replace(targets, values=values, cu={**targets.cu, "alpha": torch.arange(len(rows) + 1, device=rows.device)})


def with_teacher(targets: Targets, logits_NC: Tensor, sizes_R: Tensor) -> Targets:
    """Targets with what a teacher says of their rows, *sizes* [R] vectors of each."""
    ends_R = sizes_R.cumsum(0) * (logits_NC.numel() // max(1, len(logits_NC)))
    return replace(
        targets,
        values={**targets.values, "teacher": logits_NC.float().reshape(-1)},
        cu={**targets.cu, "teacher": torch.cat([ends_R.new_zeros(1), ends_R])},
    )


def by_label(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Translate:
    """Logits in the order of our labels. Raises LabelError where the teacher's labels are others."""
    labels, own = list(theirs["labels"]), list(ours["labels"])
    if set(labels) != set(own):
        raise LabelError(
            f"the teacher's labels are {', '.join(map(repr, labels))}; this task's are {', '.join(map(repr, own))}"
        )
    order = [labels.index(label) for label in own]
    return lambda logits_NC: logits_NC[:, order]


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
    share_R = torch.where(has_hard_R, share_of(soft.alpha, targets, weight_R), 1.0) * has_teacher_R
    of_teacher_N = torch.repeat_interleave(has_teacher_R, sizes_R)
    share_N = torch.repeat_interleave(share_R, sizes_R)
    loss_M = loss(
        logits_NC[of_teacher_N],
        teacher.view(-1, logits_NC.shape[1]),
        kind=soft.loss,
        temperature=soft.temperature,
    )
    return weight_R - share_R * has_hard_R, (loss_M * share_N[of_teacher_N]).sum()
