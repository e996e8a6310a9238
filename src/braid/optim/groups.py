"""Parameter groups: what gets weight decay, which learning rate, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from braid.config.families import TaskConfig
from braid.config.training import FreezeConfig, TrainConfig
from braid.encoders.base import Encoder
from braid.tasks.base import Head

Heads = Mapping[str, tuple[TaskConfig, Head]]
"""Every task's config and head, by name."""

NO_DECAY = ("bias", "norm", "transition", "start", "end")
"""Parts of the last components of parameter names that get no weight decay: biases, norms, and a CRF's scores."""


def named_parameters(encoder: Encoder, heads: Heads) -> Iterator[tuple[str, nn.Parameter]]:
    """All parameters under the names that optimiser states and checkpoints use."""
    for name, parameter in encoder.named_parameters():
        yield f"encoder.{name}", parameter
    for task, (_, head) in heads.items():
        for name, parameter in head.named_parameters():
            yield f"tasks.{task}.{name}", parameter


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter gets weight decay: matrices do, biases and norms do not (BERT's own recipe)."""
    tail = ".".join(name.lower().split(".")[-2:])
    return parameter.ndim > 1 and not any(part in tail for part in NO_DECAY)


def parameter_groups(
    encoder: Encoder, heads: Heads, train: TrainConfig, more: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser, each with `params`, `names`, `lr`, `base_lr`, `weight_decay`.

    Encoder layer k of n gets lr * layer_decay ** (n - k) (layer-wise decay as in ELECTRA's fine-tuning; the
    embeddings are layer 0); heads get their task's `lr`, else `head_lr`, else `lr`. *more*: what else is trained, as a
    head without an `lr`."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}

    def add(name: str, parameter: nn.Parameter, lr: float) -> None:
        decay = train.weight_decay if decays(name, parameter) else 0.0
        fresh: dict[str, Any] = {"params": [], "names": [], "lr": lr, "base_lr": lr, "weight_decay": decay}
        group = groups.setdefault((lr, decay), fresh)
        group["params"].append(parameter)
        group["names"].append(name)

    for name, parameter in encoder.named_parameters():
        depth = encoder.layer_of(name)
        add(f"encoder.{name}", parameter, train.lr * train.layer_decay ** (encoder.n_layers - depth))
    for task, (config, head) in heads.items():
        for name, parameter in head.named_parameters():
            add(f"tasks.{task}.{name}", parameter, config.lr or train.head_lr or train.lr)
    for name, parameter in more.named_parameters() if more is not None else ():
        add(f"training_only.{name}", parameter, train.head_lr or train.lr)
    return list(groups.values())


def apply_freeze(encoder: Encoder, heads: Heads, freeze: FreezeConfig, step: int) -> None:
    """Set `requires_grad` of every parameter as it should be at a step: the encoder (or its embeddings, or these and
    its first layers) stands still until `freeze.until`, heads of tasks with `freeze: true` for good."""
    active = freeze.until is None or step < freeze.until
    for name, parameter in encoder.named_parameters():
        depth = encoder.layer_of(name)
        low = freeze.layers > 0 and depth <= freeze.layers
        held = freeze.encoder or low or (freeze.embeddings and depth == 0)
        parameter.requires_grad_(not (active and held))
    for config, head in heads.values():
        for parameter in head.parameters():
            parameter.requires_grad_(not config.freeze)
