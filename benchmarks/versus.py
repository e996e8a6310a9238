"""How speed is compared: every side in a fresh process of its own, in turn, several times; medians and their spread.

A benchmark names its sides and what each does; this module is the rest. `python BENCHMARK --side NAME` is one turn of
one side, which prints what it found as a line of JSON; without `--side` all take their turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

from rich.console import Console
from rich.table import Table

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LIMIT = "limit"
"""The side that only multiplies matrices."""

Found = dict[str, Any]
"""What a turn finds: `rate` (the figure compared, higher is better) and what else is worth a line."""


def contest(
    sides: Mapping[str, Callable[[argparse.Namespace], Found]],
    *,
    doc: str | None,
    unit: str,
    report: Callable[[dict[str, list[Found]]], Found],
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
    setup: Callable[[argparse.Namespace], object] = lambda options: None,
    repeats: int = 3,
) -> None:
    """The main program of a benchmark. *report*: from all turns of all sides to the ratios that are printed last.
    *setup*: makes what all turns need in `options.folder`, which is removed at the end."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=list(sides))
    parser.add_argument("--only", help="sides, separated by semicolons")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--folder", type=Path, help="where what all turns need is, or is to be kept")
    arguments(parser)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(sides[options.side](options)), flush=True)
        return
    names = options.only.split(";") if options.only else list(sides)
    with tempfile.TemporaryDirectory() as name:
        options.folder = options.folder or Path(name)
        options.folder.mkdir(parents=True, exist_ok=True)
        setup(options)
        turns = take_turns(names, options.repeats, options.folder)
    if unit:
        print_table(turns, unit)
    print(json.dumps(report(turns)), flush=True)


def take_turns(names: Sequence[str], repeats: int, folder: Path) -> dict[str, list[Found]]:
    """All sides in turn, so that what else the machine does meets all of them; each second round goes backwards."""
    turns: dict[str, list[Found]] = {name: [] for name in names}
    given = list(sys.argv[1:])
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            began = time.perf_counter()
            command = [sys.executable, sys.argv[0], *given, "--folder", str(folder), "--side", name]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
            turns[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            seconds = time.perf_counter() - began
            print(f"{name}: {shown(turns[name][-1])} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    return turns


def shown(found: Found) -> str:
    """A turn in one line."""
    return ", ".join(
        f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in found.items()
        if not isinstance(value, dict)
    )


def rate(turns: Sequence[Found], key: str = "rate") -> float:
    """The median of a figure over the turns of a side."""
    return statistics.median(float(found[key]) for found in turns)


def print_table(turns: Mapping[str, Sequence[Found]], unit: str) -> None:
    """Medians and spreads of all sides."""
    table = Table("", unit, "spread", "other figures", title_justify="left")
    for name, found in turns.items():
        rates = [float(each["rate"]) for each in found]
        rest = {key: value for key, value in found[-1].items() if key != "rate"}
        table.add_row(name, figure(rate(found)), f"{figure(min(rates))} to {figure(max(rates))}", shown(rest))
    Console(width=140).print(table)


def figure(value: float) -> str:
    """Four digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def ratio(turns: Mapping[str, Sequence[Found]], one: str, other: str) -> float:
    """Of two sides' medians."""
    return round(rate(turns[one]) / rate(turns[other]), 3)
