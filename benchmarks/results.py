"""RESULTS.md: one line for each benchmark, and what a GPU was measured at in a section of its own."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"

HEAD = """# Results

Written by `python benchmarks/all.py`; each file in `benchmarks/` says what it measures, NOTES.md what was tried.
Ratios are of medians within one call; absolute figures mean little on shared machines. Benchmarks that need a GPU say
"no GPU" where there is none.

| benchmark | date | machine | found |
| --- | --- | --- | --- |
"""

GPU = "## On a GPU"
"""The heading under which `gpu.py` writes."""


def machine() -> str:
    """Processor, cores, GPU, and the versions that matter."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    count = torch.cuda.device_count()
    gpu = f"{count} x {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else "no GPU"
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    units = " ".join(unit for unit in ("amx_bf16", "avx512_bf16") if unit in flags.split())
    versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    cpu = names[0] if names else platform.processor() or platform.machine()
    return f"{cpu} {units}, {os.cpu_count()} cores, {gpu}; Python {platform.python_version()}, {versions}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def known(path: Path = RESULTS) -> dict[str, str]:
    """The lines that are there, by benchmark."""
    table = _parts(path)[0]
    return {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}


def write(lines: Mapping[str, str], order: Sequence[str], path: Path = RESULTS) -> None:
    """Write the table, benchmarks of *order* first, and leave what stands under `GPU` as it is."""
    keys = [key for key in (*order, *sorted(lines.keys() - set(order))) if key in lines]
    _put(path, HEAD + "".join(f"{lines[key]}\n" for key in keys), _parts(path)[1])


def write_gpu(section: str, path: Path = RESULTS) -> None:
    """Write what stands under `GPU`, and leave the table as it is."""
    _put(path, _parts(path)[0] or HEAD, section)


def _parts(path: Path) -> tuple[str, str]:
    """The table with what is above it, and the section below its heading."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    table, _, section = text.partition(f"\n{GPU}\n")
    return table, section.strip("\n")


def _put(path: Path, table: str, section: str) -> None:
    more = f"\n{GPU}\n\n{section.strip()}\n" if section.strip() else ""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(table.rstrip("\n") + "\n" + more, encoding="utf-8")
    fresh.replace(path)
