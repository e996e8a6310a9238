"""What runs an exported graph: ONNX Runtime, or torch for a `torch.export` program. NumPy in, NumPy out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from braid.errors import BraidError, RunDirectoryError

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
"""The file of a graph by what it was exported to."""


def usual_threads() -> int:
    """As many as torch was told where the process uses it (so that a server's `--threads` is kept), else
    OMP_NUM_THREADS, else a thread for each core that the process may use."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Session(Protocol):
    """A graph that is ready to run."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of these names, for inputs by name."""


class OnnxSession:
    """A graph in ONNX Runtime, on the GPU where *device* is one and the runtime can use it."""

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise BraidError("an ONNX graph needs ONNX Runtime: pip install 'braid-nlp[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] * (device != "cpu") + ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=[provider for provider in wanted if provider in there]
            )
        except Exception as error:  # its errors have no base class of their own
            raise _damaged(path, error) from error

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See `Session`."""
        found: list[np.ndarray] = self.session.run(list(outputs), dict(inputs))
        return found


class TorchSession:
    """A `torch.export` program; *names*: those of its inputs and of its outputs, in their order."""

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str], *, device: str = "cpu") -> None:
        import torch

        try:
            program = torch.export.load(path)
        except Exception as error:
            raise _damaged(path, error) from error
        self.module: Any = program.module().to(device)
        self.inputs, self.outputs, self.device = list(inputs), list(outputs), device

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See `Session`."""
        import torch

        with torch.inference_mode():
            given = [torch.from_numpy(inputs[name]).to(self.device) for name in self.inputs]
            found = dict(zip(self.outputs, self.module(*given), strict=True))
        return [found[name].cpu().numpy() for name in outputs]


def _damaged(path: Path, error: Exception) -> RunDirectoryError:
    if not path.is_file():
        return RunDirectoryError(f"{path} is missing")
    return RunDirectoryError(f"{path} is damaged, or made for another version: {str(error).strip():.200}")
