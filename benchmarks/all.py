"""Runs the benchmarks one after another and writes what they found to `benchmarks/RESULTS.md`.

    python benchmarks/all.py [NAME ...] [--quick] [--repeats 1]

Each line of RESULTS.md is the last line of JSON that a benchmark printed, with the date, the machine and the versions;
lines of benchmarks that did not run this time stay as they were. `--quick`: one repetition, few steps.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

from results import known, machine, write

HERE = Path(__file__).parent
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "startup": (["startup.py"], ["--repeats", "1"]),
    "finetune": (["finetune.py"], ["--repeats", "1", "--steps", "20"]),
    "pretrain": (["pretrain.py"], ["--repeats", "1", "--steps", "20"]),
    "multitask": (["multitask.py"], ["--repeats", "1", "--limit", "64"]),
    "infer": (["infer.py"], ["--repeats", "1", "--texts", "256"]),
    "latency": (["latency.py"], ["--repeats", "1", "--calls", "50"]),
    "prepare": (["prepare.py"], ["--repeats", "1", "--megabytes", "2"]),
    "utilisation": (["utilisation.py"], ["--repeats", "1", "--steps", "5", "--texts", "128"]),
    "gpu": (["gpu.py"], ["--quick"]),
}
"""What to run, and what to add for a quick look."""

ONCE = ("gpu",)
"""Those that have no repetitions."""

NO_GPU = "no GPU"
"""What a benchmark prints last that found no GPU."""


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
        more = list(quick) if options.quick else []
        if options.repeats and name not in ONCE:
            more += ["--repeats", options.repeats]
        given = [sys.executable, str(HERE / command[0]), *command[1:], *more]
        print(f"== {' '.join([name, *given[2:]])}", flush=True)
        done = subprocess.run(given, check=False, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        if done.returncode:
            failed.append(name)
            continue
        last = done.stdout.strip().splitlines()[-1]
        if last == NO_GPU:
            continue
        found = json.loads(last)
        shown = ", ".join(f"{key} {value}" for key, value in found.items())
        lines[name] = f"| `{name}` | {datetime.date.today()} | {here} | {shown} |"
        write(lines, list(COMMANDS))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
