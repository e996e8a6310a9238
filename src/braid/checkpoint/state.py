"""What resuming needs: weights, optimiser, random numbers and the place in the plan.

`state/step-N/` is written under a temporary name and renamed when it is whole; the newest whole one counts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from braid.checkpoint.files import load_tensors, read_json, replace_directory, save_tensors, write_json
from braid.errors import RunDirectoryError


@dataclass
class Progress:
    """Where a run stands. *step*: optimiser steps done; *fingerprint*: hash of all that fixes the course of the run;
    *best*: step and score of the best evaluation so far; *stale*: evaluations since; *seconds*, *tokens*: spent."""

    step: int = 0
    fingerprint: str = ""
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    seconds: float = 0.0
    tokens: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def save_state(
    run: Path, model: nn.Module, optimizer: Optimizer, progress: Progress, *, keep: int, device: torch.device
) -> Path:
    """Write `state/step-N/` and remove all but the newest `keep`."""
    path = run / "state" / f"step-{progress.step}"

    def fill(folder: Path) -> None:
        save_tensors(folder / "weights.safetensors", model.state_dict())
        random = {"rng.cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random["rng.cuda"] = torch.cuda.get_rng_state(device)
        save_tensors(folder / "optimizer.safetensors", {**_optimizer_tensors(optimizer), **random})
        write_json(folder / "state.json", asdict(progress))

    replace_directory(path, fill)
    for _, old in sorted(_states(run))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def newest_state(run: Path) -> Path | None:
    """The newest whole state of a run, whatever debris lies about."""
    whole = [(step, path) for step, path in _states(run) if (path / "state.json").is_file()]
    return max(whole)[1] if whole else None


def read_progress(state: Path) -> Progress:
    """Where a saved run stands. Raises RunDirectoryError."""
    content = read_json(state / "state.json")
    try:
        return Progress(**content)
    except TypeError as error:
        raise RunDirectoryError(f"{state / 'state.json'} is not a state of this version: {error}") from error


def load_state(state: Path, model: nn.Module, optimizer: Optimizer, *, device: torch.device) -> None:
    """Put weights, optimiser state and random numbers back, bitwise. Raises RunDirectoryError."""
    try:
        model.load_state_dict(load_tensors(state / "weights.safetensors"))
    except RuntimeError as error:
        raise RunDirectoryError(f"{state}: the weights do not fit this recipe: {error}") from error
    tensors = load_tensors(state / "optimizer.safetensors")
    torch.set_rng_state(tensors.pop("rng.cpu"))
    cuda = tensors.pop("rng.cuda", None)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    _put_optimizer(optimizer, tensors)


def save_best(run: Path, model: nn.Module, info: Mapping[str, Any]) -> None:
    """Keep the weights of the best evaluation in `state/best/`; `best` in the run directory points at them."""

    def fill(folder: Path) -> None:
        save_tensors(folder / "weights.safetensors", model.state_dict())
        write_json(folder / "best.json", dict(info))

    replace_directory(run / "state" / "best", fill)
    link = run / "best"
    if not link.is_symlink():
        try:
            link.symlink_to(Path("state") / "best")
        except OSError:  # a file system without links: the folder itself says it all
            return


def load_best(run: Path, model: nn.Module) -> Mapping[str, Any] | None:
    """Put the best weights into the model; what `save_best` was told of them, or None where there are none."""
    folder = run / "state" / "best"
    if not (folder / "best.json").is_file():
        return None
    model.load_state_dict(load_tensors(folder / "weights.safetensors"))
    return read_json(folder / "best.json")


def _states(run: Path) -> Iterator[tuple[int, Path]]:
    folder = run / "state"
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = re.fullmatch(r"step-(\d+)", path.name)
        if match and path.is_dir():
            yield int(match[1]), path


def _named(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    for group in optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
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
        where = "cpu" if key == "step" and not _fused_on_gpu(parameter) else parameter.device
        optimizer.state[parameter][key] = value.to(where)


def _fused_on_gpu(parameter: Tensor) -> bool:
    return parameter.device.type == "cuda"
