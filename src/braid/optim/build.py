"""Optimiser and learning-rate schedule from the recipe."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from braid.config.training import TrainConfig
from braid.encoders.base import Encoder
from braid.optim.adamw import AdamW
from braid.optim.groups import Heads, parameter_groups


def build_optimizer(encoder: Encoder, heads: Heads, train: TrainConfig, more: nn.Module | None = None) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019, fused) or Adamax (Kingma & Ba 2015, section 7.1; MT-DNN's choice).
    *more*: what is trained beside encoder and heads."""
    groups = parameter_groups(encoder, heads, train, more)
    if train.optimizer == "adamax":
        return torch.optim.Adamax(groups, lr=train.lr, betas=train.betas, eps=train.eps)
    return AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps)


def warmup_steps(train: TrainConfig, total: int) -> int:
    """Steps of warm-up: a share of all steps below 1, else a number of steps."""
    return math.ceil(train.warmup * total) if train.warmup < 1 else min(int(train.warmup), total)


def rate(train: TrainConfig, total: int, step: int) -> float:
    """What the learning rates are multiplied by at a step (from 0): linear warm-up, then down to 0 at `total`."""
    warm = warmup_steps(train, total)
    if step < warm:
        return step / max(1, warm)
    if train.schedule == "constant":
        return 1.0
    done = min(1.0, (step - warm) / max(1, total - warm))
    if train.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done


def set_rates(optimizer: Optimizer, factor: float) -> None:
    """Give every group its base rate times `factor`. A function of the step alone, so there is nothing to save."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
