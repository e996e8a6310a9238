"""What a file of tensors holds, and which program wrote it: safetensors, and PyTorch's own files read as data alone."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from braid.errors import BraidError

SAFETENSORS = (".safetensors",)
PYTORCH = (".bin", ".pt", ".pth", ".ckpt")

NESTED = ("state_dict", "model_state_dict", "model", "state")
"""Where programs put the weights in a file that holds more: Lightning, trainers of many kinds, MT-DNN."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its *shape*, its *dtype* as torch calls it, and the name of an earlier one that it *repeats* (tied
    weights, which PyTorch's files hold once under several names)."""

    shape: tuple[int, ...]
    dtype: str
    repeats: str | None = None

    @property
    def parameters(self) -> int:
        """Its numbers as far as they are weights: none of whole numbers (positions), nor where it repeats another."""
        return 0 if self.repeats or not self.dtype.startswith(("float", "bfloat")) else math.prod(self.shape)


@dataclass(frozen=True)
class TensorFile:
    """*tensors* by name; *beside*: what else the file holds; *notes*: what its writer noted in it."""

    tensors: dict[str, TensorInfo]
    beside: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Parameters of one part of a model, and how many tensors they are in."""

    name: str
    parameters: int
    tensors: int


def is_tensor_file(path: Path) -> bool:
    """Whether a file's name says that it holds tensors."""
    return path.suffix in SAFETENSORS + PYTORCH


def read_tensor_file(path: Path) -> TensorFile:
    """Names, shapes and dtypes; no code of the file is run. Raises BraidError for a damaged file, and for one that
    holds more than tensors and plain values."""
    return _read_safetensors(path) if path.suffix in SAFETENSORS else _read_pytorch(path)


def _read_safetensors(path: Path) -> TensorFile:
    out = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (not a mapping)
                part = file.get_slice(name)
                out[name] = TensorInfo(tuple(part.get_shape()), _dtype(part.get_dtype()))
            return TensorFile(out, notes=dict(file.metadata() or {}))
    except (SafetensorError, OSError, ValueError) as error:
        raise BraidError(f"{path} is damaged or no safetensors file: {error}") from error


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name.lower())


def _read_pytorch(path: Path) -> TensorFile:
    content = _load(path)
    if not isinstance(content, Mapping):
        raise BraidError(f"{path} holds a {type(content).__name__}, no mapping of names to tensors")
    weights: Mapping[Any, Any] = content
    for key in NESTED:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            weights = inner
            break
    tensors = {str(name): value for name, value in weights.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BraidError(f"{path} holds no tensors by name; its keys: {', '.join(map(str, list(content)[:10]))}")
    beside = [str(key) for key, value in content.items() if value is not weights and not isinstance(value, Tensor)]
    seen: dict[tuple[int, int, tuple[int, ...]], str] = {}
    out = {}
    for name, tensor in tensors.items():
        place = (tensor.untyped_storage().data_ptr(), int(tensor.storage_offset()), tuple(tensor.shape))
        first = seen.setdefault(place, name) if tensor.numel() else name
        dtype = str(tensor.dtype).removeprefix("torch.")
        out[name] = TensorInfo(tuple(tensor.shape), dtype, None if first == name else first)
    return TensorFile(out, tuple(beside))


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)  # a file of torch before 1.6
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search(r"(?:class|function) ([\w.]+)", str(error))
        what = f"objects of {found[1]}" if found else "objects that are no tensors"
        if "Weights only load failed" in str(error) and found:
            raise BraidError(
                f"{path} holds {what}, which only running its code would make; it is not read. Save the bare "
                "weights in the program that wrote it: torch.save(model.state_dict(), path)"
            ) from error
        raise BraidError(f"{path} is damaged or no file of PyTorch: {_first_line(error)}") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise BraidError(f"{path} is damaged or no file of PyTorch: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    first = lines[0].split(". ")[0] if lines else ""
    return first if re.search("[a-z]{3}", first) else "it is none of the formats that torch.save writes"


_PROGRAMS: tuple[tuple[str, str], ...] = (
    (r"_heads\.", "a saved state of Braid (weights alone)"),
    (r"(module\.)?scoring_list\.\d", "an MT-DNN checkpoint"),
    (r"(module\.)?embedding\.word\.embedding\.weight$", "a TencentPretrain checkpoint"),
    (r"(module\.)?embedding\.(word_embedding|embedding)\.weight$", "a UER-py checkpoint"),
    (r"(module\.)?encoder\.transformer\.\d+\.self_attn\.linear_layers", "a UER-py checkpoint"),
    (r"(module\.)?(\w+\.)?(transformer\.)?h\.\d+\.attn\.c_attn\.", "weights of GPT-2 in transformers' names"),
    (r"(model\.)?layers\.\d+\.attn\.Wqkv\.", "weights of ModernBERT in transformers' names"),
    (r"(\w+\.)*encoder\.layer\.\d+\.attention\.self\.", "weights of BERT or a relative in transformers' names"),
    (r"(\w+\.)*encoder\.albert_layer_groups\.", "weights of ALBERT in transformers' names"),
    (r"(\w+\.)*transformer\.layer\.\d+\.attention\.q_lin\.", "weights of DistilBERT in transformers' names"),
)
"""How the keys of each program's files begin, the most telling first."""


def program_of(names: Iterable[str], beside: Iterable[str] = ()) -> str | None:
    """Which program wrote tensors of these names; None: no one that is known."""
    known, others = list(names), set(beside)
    for pattern, program in _PROGRAMS:
        if any(re.match(pattern, name) for name in known):
            oldest = any(name.endswith(("LayerNorm.gamma", "LayerNorm.beta")) for name in known)
            aged = ", in the spelling of 2018" if "transformers" in program and oldest else ""
            trained = " with what its trainer saved" if others & {"optimizer", "optimizer_states"} else ""
            return program + aged + trained
    return None


_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|transformer|blocks?|albert_layer_groups)\.(\d+)\.")


def part_of(name: str) -> str:
    """Which part of a model a tensor is of, by its name: embeddings, layers, pooler, pre-training heads, heads."""
    bare = name.removeprefix("module.")
    if head := re.match(r"_heads\.([^.]+)\.", bare):
        return f"head {head[1].replace('%2E', '.')}"
    if head := re.match(r"scoring_list\.(\d+)\.", bare):
        return f"head {head[1]}"
    if re.match(r"(cls|lm_head|predictions|target|vocab_|sop_classifier|generator|discriminator)", bare):
        return "pre-training heads"
    if match := _LAYER.search(bare):
        return f"layer {match[1]}"
    if re.search(r"pooler", bare):
        return "pooler"
    if re.search(r"embed|\.?w[tp]e\.|relative_bias", bare):
        return "embeddings"
    if re.match(r"(classifier|output_layer|qa_outputs|fc|head)", bare):
        return "head"
    return "other"


def parts_of(tensors: Mapping[str, TensorInfo]) -> list[Part]:
    """Parameters by part; layers of equal size as one line (`12 layers of 7,087,872`)."""
    sizes: dict[str, list[int]] = {}
    for name, info in tensors.items():
        sizes.setdefault(part_of(name), []).append(info.parameters)
    out: list[Part] = []
    run: list[Part] = []
    for name, found in sorted(sizes.items(), key=lambda item: _order(item[0])):
        part = Part(name, sum(found), len(found))
        if name.startswith("layer ") and (not run or run[0].parameters == part.parameters):
            run.append(part)
            continue
        out += _joined(run)
        run = [part] if name.startswith("layer ") else []
        if not run:
            out.append(part)
    return out + list(_joined(run))


def _joined(run: list[Part]) -> Iterator[Part]:
    if len(run) < 2:
        yield from run
    else:
        each = run[0].parameters
        name = f"{len(run)} layers of {each:,}"
        yield Part(name, each * len(run), sum(part.tensors for part in run))


def _order(name: str) -> tuple[int, int, str]:
    kinds = ("embeddings", "layer", "pooler", "other", "pre-training heads", "head")
    first = name if name in kinds else name.split()[0]
    number = int(name.split()[1]) if re.fullmatch(r"layer \d+", name) else 0
    return kinds.index(first) if first in kinds else len(kinds), number, name
