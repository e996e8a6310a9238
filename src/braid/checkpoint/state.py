"""What resuming needs: weights, optimiser, random numbers and the place in the plan.

`state/step-N/` is written under a temporary name and renamed when it is whole; the newest whole one counts. Weights and
optimiser are one safetensors file each, or, from a model in shards, a folder of them by PyTorch's distributed
checkpoint: either can be read by one process, by replicas and by shards.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from braid.checkpoint.files import load_tensors, own_copies, read_json, replace_directory, save_tensors, write_json
from braid.errors import RunDirectoryError
from braid.optim.adamw import AdamW
from braid.parallel.world import ALONE, World

SHARDS = "shards"
MORE = "regularisers.safetensors"
Write = Callable[[], object]


@dataclass
class Progress:
    """Where a run stands. *step*: optimiser steps done; *epoch*, *epoch_start*: the epoch of the last one, and the
    steps before it; *course*: everything that fixes the course of the run; *best*: step and score of the best
    evaluation so far; *stale*: evaluations since; *seconds*, *tokens*: spent; *bad*: steps left out because their
    gradient was not finite; *rows*: rows with a target that were trained on, by task."""

    step: int = 0
    epoch: int = 0
    epoch_start: int = 0
    course: dict[str, Any] = field(default_factory=dict)
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    seconds: float = 0.0
    tokens: int = 0
    bad: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    def stepped(self, *, epoch: int, epoch_start: int, tokens: int, rows: Mapping[str, int]) -> None:
        """One more step is done."""
        self.step += 1
        self.epoch, self.epoch_start = epoch, epoch_start
        self.tokens += tokens
        for task, n in rows.items():
            self.rows[task] = self.rows.get(task, 0) + n


def state_writer(
    run: Path,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    *,
    keep: int,
    device: torch.device,
    world: World = ALONE,
    more: Mapping[str, Tensor] | None = None,
) -> Write | None:
    """Copy all that a state holds, as it is now; what is returned writes `state/step-N/` and removes all but the newest
    `keep`, at any later time and in any thread. None: another process writes. All processes call this together.
    *more*: what else training must remember (averages of weights), whole in every process."""
    random = _random(world, device)
    weights, moments = model.state_dict(), _optimizer_tensors(optimizer)
    path = run / "state" / f"step-{progress.step}"
    shards, written = path.with_name(f".{path.name}.{SHARDS}"), None
    if any(isinstance(tensor, DTensor) for tensor in weights.values()):
        written = _write_shards(shards, {**weights, **moments}, world)
    if not world.first:
        return None if written is None else written.result
    if written is None:
        weights, moments = own_copies(weights), own_copies(moments)
    content, remembered = asdict(progress), own_copies(more or {})

    def fill(folder: Path) -> None:
        if written is None:
            save_tensors(folder / "weights.safetensors", weights)
            save_tensors(folder / "optimizer.safetensors", moments)
        else:
            written.result()  # done once all processes are
            shards.rename(folder / SHARDS)
        save_tensors(folder / "random.safetensors", random)
        if remembered:
            save_tensors(folder / MORE, remembered)
        files = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        write_json(folder / "state.json", {**content, "files": files})

    def write() -> None:
        replace_directory(path, fill)
        for _, old in sorted(_states(run))[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    return write


def newest_state(run: Path) -> Path | None:
    """The newest whole state of a run, whatever debris lies about."""
    return next((path for _, path in sorted(_states(run), reverse=True) if _whole(path)), None)


def read_progress(state: Path) -> Progress:
    """Where a saved run stands. Raises RunDirectoryError."""
    content = read_json(state / "state.json")
    try:
        content.pop("files", None)
        return Progress(**content)
    except (TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{state / 'state.json'} is not a state of this version: {error}") from error


def load_state(
    state: Path, model: nn.Module, optimizer: Optimizer, *, device: torch.device, world: World = ALONE
) -> None:
    """Put weights, optimiser state and random numbers back, bitwise. Raises RunDirectoryError."""
    if (state / SHARDS).is_dir():
        _load_shards(state / SHARDS, model, optimizer, world)
    else:
        _put_weights(state, model, load_tensors(state / "weights.safetensors"))
        _put_optimizer(optimizer, load_tensors(state / "optimizer.safetensors"))
    random = load_tensors(state / "random.safetensors")
    if f"cpu.{world.rank}" in random:
        torch.set_rng_state(random[f"cpu.{world.rank}"])
    else:  # more processes than before
        torch.manual_seed(read_progress(state).step * 1_000_003 + world.rank)
    if device.type == "cuda" and f"cuda.{world.rank}" in random:
        torch.cuda.set_rng_state(random[f"cuda.{world.rank}"], device)


def load_more(state: Path) -> dict[str, Tensor]:
    """What `state_writer` was told to remember besides. Raises RunDirectoryError."""
    return load_tensors(state / MORE) if (state / MORE).is_file() else {}


def load_weights(state: Path, model: nn.Module) -> None:
    """Put only the weights of a saved state, or of `state/best/`, into a model. Raises RunDirectoryError."""
    if (state / SHARDS).is_dir():
        wanted: dict[str, Tensor] = dict(model.state_dict())
        _read_shards(state / SHARDS, wanted)
    else:
        _put_weights(state, model, load_tensors(state / "weights.safetensors"))


def best_writer(run: Path, model: nn.Module, info: Mapping[str, Any]) -> Write:
    """As `state_writer`: the weights of the best evaluation, in `state/best/`; `best` in the run directory points at
    them."""
    weights = own_copies(model.state_dict())

    def fill(folder: Path) -> None:
        save_tensors(folder / "weights.safetensors", weights)
        write_json(folder / "best.json", dict(info))

    def write() -> None:
        replace_directory(run / "state" / "best", fill)
        link = run / "best"
        if not link.is_symlink():
            try:
                link.symlink_to(Path("state") / "best")
            except OSError:  # a file system without links: the folder itself says it all
                return

    return write


def load_best(run: Path, model: nn.Module) -> Mapping[str, Any] | None:
    """Put the best weights into the model; what `best_writer` was told of them, or None where there are none."""
    folder = run / "state" / "best"
    if not (folder / "best.json").is_file():
        return None
    _put_weights(folder, model, load_tensors(folder / "weights.safetensors"))
    return read_json(folder / "best.json")


def _states(run: Path) -> Iterator[tuple[int, Path]]:
    folder = run / "state"
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = re.fullmatch(r"step-(\d+)", path.name)
        if match and path.is_dir():
            yield int(match[1]), path


def _whole(state: Path) -> bool:
    """Whether everything that a state says it has is there, at its full size."""
    try:
        files = read_json(state / "state.json")["files"]
        return all((state / name).stat().st_size == size for name, size in files.items())
    except (RunDirectoryError, OSError, KeyError, TypeError, AttributeError):
        return False


def _random(world: World, device: torch.device) -> dict[str, Tensor]:
    """The states of all processes' random numbers."""
    here = {f"cpu.{world.rank}": torch.get_rng_state()}
    if device.type == "cuda":
        here[f"cuda.{world.rank}"] = torch.cuda.get_rng_state(device)
    return {name: tensor for found in world.gather(here) for name, tensor in found.items()}


def _put_weights(where: Path, model: nn.Module, found: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    unfit = [name for name in own.keys() | found.keys() if name not in own or name not in found]
    unfit += [name for name in own.keys() & found.keys() if own[name].shape != found[name].shape]
    if unfit:
        names = ", ".join(sorted(unfit)[:5])
        raise RunDirectoryError(f"{where}: {len(unfit)} weights do not fit this recipe: {names}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_divided(found[name], tensor))


def _divided(full: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as another one is divided among the processes."""
    if isinstance(like, DTensor):
        return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
    return full


def _named(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    for group in optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    if isinstance(optimizer, AdamW):
        optimizer.settle()
    out: dict[str, Tensor] = {}
    for name, parameter in _named(optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"{name}::{key}"] = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    return out


def _put_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(_named(optimizer))
    for full, value in tensors.items():
        name, _, key = full.rpartition("::")
        if name not in parameters:
            raise RunDirectoryError(f"the saved optimiser knows a parameter {name!r} that this recipe does not have")
        parameter = parameters[name]
        where = "cpu" if key == "step" and parameter.device.type != "cuda" else parameter.device
        moved = value.to(where)
        whole = moved.shape == parameter.shape and not isinstance(moved, DTensor)
        optimizer.state[parameter][key] = _divided(moved, parameter) if whole else moved


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], world: World) -> Future[Any]:
    """Every process copies what it holds and begins to write it. What is returned is done when all have."""
    if world.first:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    world.wait()
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    return async_save(dict(tensors), storage_writer=writer, process_group=_saving())  # type: ignore[return-value]


@cache
def _saving() -> dist.ProcessGroup:
    """The processes as they talk while they write, beside what training says."""
    return dist.new_group(backend="gloo")


def _load_shards(folder: Path, model: nn.Module, optimizer: Optimizer, world: World) -> None:
    reader = HuggingFaceStorageReader(str(folder))
    parameters = dict(_named(optimizer))
    wanted: dict[str, Tensor] = dict(model.state_dict())
    for name, saved in reader.read_metadata().state_dict_metadata.items():
        parameter, key = parameters.get(name.rpartition("::")[0]), name.rpartition("::")[2]
        if name in wanted:
            continue
        if parameter is None:
            raise RunDirectoryError(f"{folder} holds {name!r}, which this recipe does not have")
        if tuple(saved.size) == tuple(parameter.shape):  # type: ignore[union-attr]
            wanted[name] = torch.zeros_like(parameter)
        else:
            wanted[name] = torch.zeros(saved.size, dtype=saved.properties.dtype)  # type: ignore[union-attr]
        optimizer.state[parameter][key] = wanted[name]
    _read_shards(folder, wanted)


def _read_shards(folder: Path, wanted: dict[str, Tensor]) -> None:
    try:
        load_shards(wanted, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=not dist.is_initialized())
    except (CheckpointException, RuntimeError, ValueError) as error:
        raise RunDirectoryError(f"{folder} cannot be read: {error}") from error
