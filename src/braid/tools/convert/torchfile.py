"""Files of `torch.save`, read without running anything that stands in them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braid.errors import BraidError

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as those of torch do: a zip archive, or, before torch 1.6, a pickle."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(4)
    return start == _ZIP or start[:1] == _PICKLE


def load(path: Path) -> Any:
    """What a file of `torch.save` holds: tensors and plain values only (`weights_only=True`).

    Raises BraidError for a file that is damaged, and for one with any other object in it, naming that."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|Unsupported class|Unsupported operand)\s+([\w.]+)", str(error))
        if found is None and "weights_only" not in str(error).lower():
            raise BraidError(f"{path} is damaged or no file of torch: {error}") from error
        what = f"the Python object {found[1]}" if found else "something that is neither a tensor nor a plain value"
        raise BraidError(
            f"{path} holds {what}. Unpickling it could run code, so it is not read. Where you trust the file, save "
            "its tensors alone in the program that it comes from:\n"
            '    state = torch.load("old.bin"); torch.save({name: tensor for name, tensor in '
            'state.get("state", state).items()}, "new.bin")'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BraidError(f"{path} is damaged, cut short or no file of torch: {first}") from error


def tensors_of(content: Any) -> dict[str, Tensor] | None:
    """A state dict; None for anything else."""
    if not isinstance(content, dict) or not content:
        return None
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return None
    return dict(content)


def sizes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The sizes of tensors."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
