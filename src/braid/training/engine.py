"""How the parts of a global batch become one gradient: in one process, in replicas (DDP), or in shards (FSDP2).

Every process computes the same number of parts, so that all join the same collectives; one that has too few of them
computes a *ghost*, a row that another process has too, and multiplies its losses by 0.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from braid.data.batch import Batch
from braid.errors import BraidError
from braid.model.network import BraidModel
from braid.optim.adamw import values_of
from braid.parallel.world import World
from braid.training.objective import Objective

CLIP_EPSILON = 1e-6
"""Added to the norm that a gradient is divided by, as in torch's `clip_grad_norm_`."""


class Engine:
    """One process: nothing to exchange."""

    factor = 1.0
    """What losses are multiplied by, to undo the mean over processes that gradients are."""

    def __init__(self, model: BraidModel, objective: Objective) -> None:
        self.model = model
        self.objective = objective

    def losses(self, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str]) -> dict[str, Tensor]:
        """Each task's summed loss over a part. *present*: tasks of the global batch."""
        return self.objective(self.model, batch, scope, ())

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """Around forward and backward pass of a part; gradients are exchanged in the last one."""
        yield

    def norm(self, limit: float) -> float:
        """The norm of the whole gradient, which is clipped to *limit*."""
        found = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if not found:
            return 0.0
        for parameter in found:
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
        gradients = [values_of(parameter.grad) for parameter in found if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # Most gradients are short enough, and need not be multiplied by 1.
        if limit < float(norm) + CLIP_EPSILON < math.inf:
            torch._foreach_mul_(gradients, limit / (float(norm) + CLIP_EPSILON))
        return float(norm)

    @contextmanager
    def whole(self) -> Iterator[BraidModel]:
        """The model as an ordinary module with all its weights in every process, to be evaluated and saved."""
        yield self.model

    def finished(self) -> BraidModel:
        """The same for good: training is over."""
        return self.model


class Replicas(Engine):
    """A whole model in every process; DDP (Li et al. 2020, arXiv 2006.15704) exchanges gradients during the backward
    pass of the last part. A task without a row here adds zeros, one without a row anywhere keeps no gradient."""

    def __init__(self, model: BraidModel, objective: Objective, world: World) -> None:
        super().__init__(model, objective)
        self.factor = float(world.size)
        self._wrapped: DistributedDataParallel | None = None
        self._trained: tuple[bool, ...] = ()

    def losses(self, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str]) -> dict[str, Tensor]:
        return self._module()(batch, scope, list(present))

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        if last:
            yield
        else:
            with self._module().no_sync():
                yield

    def _module(self) -> DistributedDataParallel:
        # DDP looks once at what is trained; a frozen encoder that is released is another module to it.
        trained = tuple(parameter.requires_grad for parameter in self.model.parameters())
        if self._wrapped is None or trained != self._trained:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # `broadcast_buffers` has another name from torch 2.13 on
                self._wrapped = DistributedDataParallel(
                    _Losses(self.model, self.objective), find_unused_parameters=True, broadcast_buffers=False
                )
            self._trained = trained
        return self._wrapped


class _Losses(nn.Module):
    """What DDP sees: a module whose forward pass gives losses."""

    def __init__(self, model: BraidModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, scope: AbstractContextManager[object], present: list[str]) -> dict[str, Tensor]:
        return self.objective(self.model, batch, scope, present)


class Shards(Engine):
    """Parameters, gradients and optimiser state divided among the processes (FSDP2, arXiv 2304.11277): each block of
    the encoder is gathered when it is needed."""

    def __init__(self, model: BraidModel, objective: Objective, world: World, device: torch.device) -> None:
        super().__init__(model, objective)
        self.factor = float(world.size)
        self._copy = _without_weights(model)
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)
        mesh = init_device_mesh(device.type, (world.size,))
        for block in blocks(model.encoder):
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "losses")

    def losses(self, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str]) -> dict[str, Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="FSDP2-wrapped module .* returned a view"
            )  # we change none in place
            return self.objective(self.model, batch, scope, list(present))

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    @contextmanager
    def whole(self) -> Iterator[BraidModel]:
        yield self.finished()
        # What an evaluation found (thresholds) stands in buffers; the weights go.
        found = dict(self._copy.named_buffers())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(found[name])
        for parameter in self._copy.parameters():
            torch.utils.swap_tensors(parameter, nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad))

    def finished(self) -> BraidModel:
        given = dict(self.model.named_parameters())
        for name, parameter in self._copy.named_parameters():
            held = given[name].detach()
            full = held.full_tensor() if isinstance(held, DTensor) else held.clone()
            torch.utils.swap_tensors(parameter, nn.Parameter(full, given[name].requires_grad))
        found = dict(self.model.named_buffers())
        for name, buffer in self._copy.named_buffers():
            buffer.copy_(found[name])
        return self._copy


def engine_of(model: BraidModel, objective: Objective, parallel: str, world: World, device: torch.device) -> Engine:
    """The engine that a recipe asks for. One process needs none of them."""
    if world.size == 1:
        return Engine(model, objective)
    if parallel == "fsdp":
        return Shards(model, objective, world, device)
    return Replicas(model, objective, world)


def recompute_blocks(model: BraidModel) -> None:
    """Let the encoder's blocks forget their activations and compute them anew in the backward pass (activation
    checkpointing, arXiv 1604.06174): a third more time for a fraction of the memory. Raises BraidError where the
    encoder has no blocks."""
    found = blocks(model.encoder)
    if not found:
        raise BraidError(
            "train.activation_checkpointing: this encoder has no blocks that could be computed anew; leave it out"
        )
    for block in found:
        block.forward = _recomputing(block)


def _recomputing(block: nn.Module) -> Callable[..., Any]:
    inner = block.forward

    def forward(*given: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return inner(*given, **options)
        return checkpoint(partial(inner, **options), *given, use_reentrant=False)

    return forward


def blocks(encoder: nn.Module) -> list[nn.Module]:
    """The encoder's repeated layers: what stands in its uppermost lists of modules."""
    found: list[nn.Module] = []

    def walk(module: nn.Module) -> None:
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                for entry in child:
                    walk(nn.ModuleList([entry])) if isinstance(entry, nn.ModuleList) else found.append(entry)
            else:
                walk(child)

    walk(encoder)
    return list(dict.fromkeys(found))


def _without_weights(model: BraidModel) -> BraidModel:
    """A copy of the model's structure, its parameters on the meta device, tied ones still tied."""
    memory = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memory)


def padded(parts: Sequence[Sequence[tuple[int, int]]], world: World) -> tuple[list[Sequence[tuple[int, int]]], int]:
    """This process's share of a global batch's parts, and how many of them, at the end, are ghosts."""
    rounds = -(-len(parts) // world.size)
    mine = list(parts[world.rank :: world.size])
    ghosts = rounds - len(mine)
    return mine + [parts[0][:1]] * ghosts, ghosts
