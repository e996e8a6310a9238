"""Reading weights of a directory: safetensors only, whole or in shards, checked before anything is allocated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from braid.errors import BraidError

MAX_CONFIG_BYTES = 10_000_000


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules made here have parameters of the right shapes that hold nothing (they are on the meta device), and none
    are drawn: a drawing of nothing alone makes torch load its compiler, which takes seconds."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves out what fills a tensor with random numbers."""

    drawn = frozenset({nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.xavier_uniform_})
    methods = frozenset({Tensor.normal_, Tensor.uniform_})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in self.drawn or func in self.methods:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a directory. Raises BraidError."""
    path = directory / "config.json"
    if not path.is_file():
        raise BraidError(f"{directory} holds no config.json")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise BraidError(f"{path} is too large for a config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BraidError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise BraidError(f"{path} is no mapping")
    return config


class Checkpoint:
    """The tensors of a directory by name: shapes are known at once, values are read when asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in self._paths():
            try:
                with safe_open(str(path), framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118  (not a mapping)
                        self.files[name] = path
                        self.shapes[name] = tuple(file.get_slice(name).get_shape())
            except (SafetensorError, OSError, ValueError) as error:
                raise BraidError(f"{path} is damaged or no safetensors file: {error}") from error

    def _paths(self) -> list[Path]:
        single, index = self.directory / "model.safetensors", self.directory / "model.safetensors.index.json"
        if single.is_file():
            return [single]
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, AttributeError) as error:
                raise BraidError(f"{index} is not an index of shards: {error}") from error
            for name in names:
                if Path(name).name != name or not (self.directory / name).is_file():
                    raise BraidError(f"{index} names the shard {name!r}, which is not beside it")
            return [self.directory / name for name in names]
        pickles = [path.name for path in self.directory.glob("*.bin")] + [p.name for p in self.directory.glob("*.pt")]
        if pickles:
            raise BraidError(
                f"{self.directory} holds {pickles[0]} but no model.safetensors. Pickled weights can run code and are "
                "not loaded; save them with transformers' `save_pretrained`, which writes safetensors"
            )
        raise BraidError(f"{self.directory} holds no model.safetensors")

    def read(self, names: list[str]) -> dict[str, Tensor]:
        """Tensors by name."""
        out: dict[str, Tensor] = {}
        for path in sorted({self.files[name] for name in names}):
            with safe_open(str(path), framework="pt") as file:
                for name in names:
                    if self.files[name] == path:
                        out[name] = file.get_tensor(name)
        return out
