"""What a teacher gives: a student of two layers on SST-2, alone and taught by six layers, from the same start.

    python benchmarks/distillation.py [--seeds 1,2,3] [--rows 8000] [--ways "alone; logits"] [--runs runs] [--table]

Trains the teacher (recipes/distill/teacher.yaml: all 65,329 rows, one epoch, about ten minutes on one core) where it
is not there yet, then recipes/distill/student.yaml for each seed and way on `--rows` of the training rows (0: all of
them); every way sees the same rows as often. Runs that are finished already are read, not trained again, so the work
may be divided among calls. Prints a table of means and deviations on GLUE's dev, the file of SST-2 with labels that
nothing was trained on or chosen by, and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console
from rich.table import Table

import braid
from braid.checkpoint.state import newest_state

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT.parent / "shared" / "data" / "glue" / "SST-2" / "train.tsv.gz"
SENTIMENT = "tasks.sentiment."

WAYS: dict[str, dict[str, Any]] = {
    "alone": {"distill": "null"},
    "logits": {"distill.hidden": "null"},
    "logits, hidden": {},
}
"""What each way changes in the student's recipe."""


def figures(directory: Path) -> dict[str, Any] | None:
    """Those of a run that is finished."""
    path = directory / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else None


def trained(recipe: str, directory: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run, which is trained where it is not there yet."""
    found = figures(directory)
    if found is not None:
        return found
    overrides = [f"{key}={value}" for key, value in {**values, "out": directory}.items()]
    begun = newest_state(directory) is not None
    run = braid.train(braid.Recipe.load(ROOT / "recipes" / "distill" / f"{recipe}.yaml", overrides), resume=begun)
    return dict(run.metrics)


def some_rows(folder: Path, number: int) -> Path:
    """A file of so many training rows, evenly spread over all."""
    if not number:
        return TRAIN
    path = folder / f"sst2_{number}.tsv"
    if not path.is_file():
        with gzip.open(TRAIN, "rt", encoding="utf-8") as file:
            header, *lines = file
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(header + "".join(lines[k * len(lines) // number] for k in range(number)), encoding="utf-8")
    return path


def main() -> None:
    """Train what is missing, and print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--ways", default="; ".join(WAYS), help="separated by ;")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "distillation")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of the student's recipe")
    options = parser.parse_args()
    if not TRAIN.is_file():
        print(f"no data at {TRAIN}: nothing measured")
        return
    os.chdir(ROOT)
    teacher = options.runs / "teacher"
    common: dict[str, Any] = (
        {}
        if options.table
        else {
            f"{SENTIMENT}data.train": some_rows(options.runs, options.rows),
            **dict(override.split("=", 1) for override in options.overrides),
        }
    )
    if not options.table:
        trained("teacher", teacher, {})
    table = Table("way", "layers", "parameters", "accuracy", "deviation", "seeds", "seconds each")
    out: dict[str, Any] = {}
    ways = [way.strip() for way in options.ways.split(";")]
    found = figures(teacher)
    if found is not None:
        out["teacher"] = add(table, "teacher", teacher, [found])
    for way in ways:
        scores = []
        for seed in options.seeds.split(","):
            directory = options.runs / f"{way.replace(', ', '_').replace(' ', '_')}_{options.rows}_{seed}"
            taught = {} if way == "alone" else {"distill.teachers.sentiment": teacher}
            if not options.table:
                trained("student", directory, {**common, **taught, **WAYS[way], "seed": seed})
            scores += [one for one in [figures(directory)] if one is not None]
        if scores:
            out[way] = add(table, way, directory, scores)
    Console(width=110).print(table)
    print(json.dumps({"rows": options.rows, **out}))


def add(table: Table, name: str, directory: Path, scores: list[dict[str, Any]]) -> float:
    """A line of the table; the mean accuracy in per cent."""
    accuracy = [100 * one["test"]["sentiment"]["accuracy"] for one in scores]
    shape = json.loads((directory / "encoder" / "config.json").read_text())
    weights = braid.load(directory).network.parameters()
    table.add_row(
        name,
        str(shape["num_hidden_layers"]),
        f"{sum(weight.numel() for weight in weights) / 1e6:.1f} M",
        f"{statistics.mean(accuracy):.2f}",
        f"{statistics.stdev(accuracy):.2f}" if len(accuracy) > 1 else "",
        str(len(accuracy)),
        f"{statistics.mean(one['train']['seconds'] for one in scores):.0f}",
    )
    return round(statistics.mean(accuracy), 2)


if __name__ == "__main__":
    main()
