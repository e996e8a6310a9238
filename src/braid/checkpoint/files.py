"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from braid.errors import RunDirectoryError

if TYPE_CHECKING:
    from torch import Tensor


def write_json(path: Path, content: Any) -> None:
    """Write JSON under a temporary name, then rename."""
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read JSON. Raises RunDirectoryError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is missing") from None
    except (ValueError, OSError, RecursionError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises RunDirectoryError that names the file."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} holds no mapping but a {type(content).__name__}")
    return content


def own_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, every tensor on its own memory: what is done to the originals later does not change them."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: on the CPU, each whole on memory that no other has a part in. Copies are
    made only where that is not so already."""
    owners = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())

    def alone(tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size() and tensor.is_contiguous()
        return whole and tensor.device.type == "cpu" and owners[storage.data_ptr()] == 1

    return {
        name: tensor.detach() if alone(tensor) else own_copies({name: tensor})[name] for name, tensor in tensors.items()
    }


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors and flush them to the disk. Raises RunDirectoryError where there is no room."""
    from safetensors.torch import save_file

    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    try:
        save_file(_alone(tensors), str(path), metadata={"format": "pt"})
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        free = shutil.disk_usage(path.parent).free
        # safetensors wraps the system's error into words of its own.
        if getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error) or free < needed:
            raise RunDirectoryError(
                f"{path.parent}: the disk is full: {path.name} needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are "
                "free. What was saved before is whole."
            ) from error
        raise RunDirectoryError(f"{path} cannot be written: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors. Raises RunDirectoryError that names the file."""
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is missing") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} is damaged or no safetensors file: {error}") from error


def replace_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory under a temporary name, then put it in place of `path`. What was there before stays whole
    until the new one is. Raises RunDirectoryError where a file stands in the way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunDirectoryError(f"{path} cannot be written: {error.filename} is a file, not a folder") from error
    temporary, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    for debris in (temporary, old):
        shutil.rmtree(debris, ignore_errors=True)
    temporary.mkdir()
    fill(temporary)
    _sync(temporary)
    if path.exists():
        os.rename(path, old)
    os.rename(temporary, path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
