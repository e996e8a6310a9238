"""Which precision a machine computes in, and the context for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from braid.errors import BraidError


def device_of(name: str, local_rank: int | None = None) -> torch.device:
    """`auto`: the GPU where there is one, else the CPU. *local_rank*: number of this process among those of its
    machine, each of which takes a GPU of its own. Raises BraidError for a device that is not there."""
    if local_rank is not None and name in ("auto", "cuda") and torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise BraidError(
                f"this machine has {torch.cuda.device_count()} GPUs, and process {local_rank} finds none left: use "
                f"torchrun --nproc-per-node {torch.cuda.device_count()}, or train.device=cpu"
            )
        return torch.device("cuda", local_rank)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BraidError(f"train.device: {name!r} is no device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BraidError(f"train.device: {name!r} was asked for, but torch finds no GPU here; use auto or cpu")
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32 here: a GPU that has them; a CPU with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)


def resolve(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 where that is fast, else fp32."""
    if precision == "auto":
        return "bf16" if fast_bfloat16(device) else "fp32"
    return precision


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision: weights stay fp32, matrix products run in bf16."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def inference_tokens(wanted: int | None, device: torch.device) -> int:
    """Tokens of a batch where nothing is learned. None: as many as pay; on a CPU larger ones leave its caches."""
    return wanted or (2048 if device.type == "cpu" else 16384)
