"""Losses over classes, in fp32, one value a row.

Shape legend: N rows (or units), C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The class of a row without a hard label: its loss is 0."""


def class_loss(
    logits_NC: Tensor,
    classes_N: Tensor,
    *,
    kind: Literal["cross_entropy", "focal"] = "cross_entropy",
    gamma: float = 2.0,
    weight_C: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy [N], or focal loss (Lin et al. 2017, arXiv 1708.02002): cross-entropy times (1 - p) ** gamma, p
    being the probability of the right class."""
    logits_NC = logits_NC.float()
    loss_N = F.cross_entropy(
        logits_NC,
        classes_N,
        weight=weight_C,
        label_smoothing=label_smoothing,
        reduction="none",
        ignore_index=IGNORED,
    )
    if kind == "cross_entropy":
        return loss_N
    plain_N = F.cross_entropy(logits_NC, classes_N, reduction="none", ignore_index=IGNORED)
    # 1 - p from log p without losing what is left of it when p is nearly 1; no power of 0, which has no gradient.
    return loss_N * (-torch.expm1(-plain_N)).clamp(min=1e-9) ** gamma


def binary_loss(
    logits_NC: Tensor,
    targets_NC: Tensor,
    *,
    kind: Literal["cross_entropy", "focal"] = "cross_entropy",
    gamma: float = 2.0,
    weight_C: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of every class, or its focal form, averaged over classes: [N]. *targets*: 0 or 1;
    *weight*: of the ones of each class."""
    logits_NC = logits_NC.float()
    loss_NC = F.binary_cross_entropy_with_logits(logits_NC, targets_NC, pos_weight=weight_C, reduction="none")
    if kind == "focal":
        wrong_NC = torch.where(targets_NC > 0.5, -logits_NC, logits_NC).sigmoid()
        loss_NC = loss_NC * wrong_NC**gamma
    return loss_NC.mean(dim=1)


def soft_loss(
    logits_NC: Tensor, teacher_NC: Tensor, *, kind: Literal["kl", "mse"] = "kl", temperature: float = 1.0
) -> Tensor:
    """How far a student is from its teacher [N]. `kl`: temperature ** 2 times KL(teacher || student), both softened by
    the temperature (Hinton et al. 2015, arXiv 1503.02531); `mse`: the mean squared difference of logits less their
    mean, since softmax does not see a constant (Kim et al. 2021, arXiv 2105.08919)."""
    logits_NC, teacher_NC = logits_NC.float(), teacher_NC.float()
    if kind == "mse":
        apart_NC = (logits_NC - logits_NC.mean(1, keepdim=True)) - (teacher_NC - teacher_NC.mean(1, keepdim=True))
        return apart_NC.square().mean(dim=1)
    student_NC = F.log_softmax(logits_NC / temperature, dim=1)
    target_NC = F.log_softmax(teacher_NC / temperature, dim=1)
    return F.kl_div(student_NC, target_NC, reduction="none", log_target=True).sum(dim=1) * temperature**2


def soft_binary_loss(
    logits_NC: Tensor, teacher_NC: Tensor, *, kind: Literal["kl", "mse"] = "kl", temperature: float = 1.0
) -> Tensor:
    """As `soft_loss` for classes that are independent of each other, averaged over classes: [N]."""
    logits_NC, teacher_NC = logits_NC.float(), teacher_NC.float()
    if kind == "mse":
        return (logits_NC - teacher_NC).square().mean(dim=1)
    teacher_NC = teacher_NC / temperature
    target_NC = teacher_NC.sigmoid()
    cross_NC = F.binary_cross_entropy_with_logits(logits_NC / temperature, target_NC, reduction="none")
    own_NC = F.binary_cross_entropy_with_logits(teacher_NC, target_NC, reduction="none")
    return (cross_NC - own_NC).mean(dim=1) * temperature**2
