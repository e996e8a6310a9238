"""Runs the benchmarks one after another and writes what they found to `benchmarks/RESULTS.md`.

    python benchmarks/all.py [NAME ...] [--quick] [--repeats 1]

Each line of RESULTS.md is the last line of JSON that a benchmark printed, with the date, the machine and the versions;
lines of benchmarks that did not run this time stay as they were. `--quick`: one repetition, few steps.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "startup": (["startup.py"], ["--repeats", "1"]),
    "finetune": (["finetune.py"], ["--repeats", "1", "--steps", "20"]),
    "pretrain": (["pretrain.py"], ["--repeats", "1", "--steps", "20"]),
    "infer": (["infer.py"], ["--repeats", "1", "--texts", "256"]),
    "latency": (["latency.py"], ["--repeats", "1", "--calls", "50"]),
    "prepare": (["prepare.py"], ["--repeats", "1", "--megabytes", "2"]),
}
"""What to run, and what to add for a quick look."""

HEAD = """# Results

Written by `python benchmarks/all.py`; each file in `benchmarks/` says what it measures, NOTES.md what was tried.
Ratios are of medians within one call; absolute figures mean little on shared machines. Benchmarks that need a GPU say
"no GPU" where there is none.

| benchmark | date | machine | found |
| --- | --- | --- | --- |
"""


def machine() -> str:
    """Processor, cores, GPU, and the versions that matter."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    units = " ".join(unit for unit in ("amx_bf16", "avx512_bf16") if unit in flags.split())
    versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    cpu = names[0] if names else platform.processor() or platform.machine()
    return f"{cpu} {units}, {os.cpu_count()} cores, {gpu}; Python {platform.python_version()}, {versions}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def known() -> dict[str, str]:
    """The lines that are there, by benchmark."""
    if not RESULTS.exists():
        return {}
    lines = [line for line in RESULTS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: line for line in lines}


def main() -> None:
    """Run, and write after each, so that nothing is lost when one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMMANDS)}; all without")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", help="of each benchmark, instead of its own number")
    options = parser.parse_args()
    unknown = set(options.names) - set(COMMANDS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    lines, failed, here = known(), [], machine()
    for name in options.names or COMMANDS:
        command, quick = COMMANDS[name]
        more = [*(quick if options.quick else []), *(["--repeats", options.repeats] if options.repeats else [])]
        given = [sys.executable, str(HERE / command[0]), *command[1:], *more]
        print(f"== {' '.join([name, *given[2:]])}", flush=True)
        done = subprocess.run(given, check=False, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        if done.returncode:
            failed.append(name)
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        shown = ", ".join(f"{key} {value}" for key, value in found.items())
        lines[name] = f"| `{name}` | {datetime.date.today()} | {here} | {shown} |"
        ordered = [lines[key] for key in (*COMMANDS, *sorted(lines.keys() - COMMANDS.keys())) if key in lines]
        RESULTS.write_text(HEAD + "\n".join(ordered) + "\n", encoding="utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
