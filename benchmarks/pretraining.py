"""What pre-training gives: a small Chinese BERT fine-tuned from scratch, from general text, and from general text and
then the task's own; and a recurrent classifier with and without a language model first.

    python benchmarks/pretraining.py [--seeds 1,2,3] [--only tnews,msra_ner] [--runs runs] [--table]

Pre-trains what is not there yet (recipes/pretrain/three_stage, recipes/pretrain/lstm_lm.yaml: about two hours on one
core), then fine-tunes each task with each seed; runs that are finished already are read, not trained again, so the
work may be divided among calls (`--only`, `--seeds`). Prints a table of means and deviations on the test data (of what
is finished; `--table`: nothing is trained) and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console
from rich.table import Table

import braid
from braid.checkpoint.state import newest_state

ROOT = Path(__file__).resolve().parents[1]
FRESH = {"encoder.shape": "mini", "encoder.vocab": "../shared/data/uer_models/google_zh_vocab.txt"}


@dataclass(frozen=True)
class Start:
    """Where fine-tuning starts: *recipe* that pre-trains it (None: nowhere), *after* which other one."""

    recipe: str | None = None
    after: str | None = None


STARTS = {
    "scratch": Start(),
    "general": Start("pretrain/three_stage/1_general"),
    "general, task": Start("pretrain/three_stage/2_task", after="general"),
    "general, titles": Start("pretrain/three_stage/2_titles", after="general"),
    "language model": Start("pretrain/lstm_lm"),
}


@dataclass(frozen=True)
class Setting:
    """A task: its recipe, its metric, and the starts that are compared."""

    recipe: str
    metric: tuple[str, str]
    starts: tuple[str, ...]
    fresh: Mapping[str, str]
    """What the recipe needs where nothing is pre-trained, and must not have elsewhere."""


SETTINGS = {
    "chnsenticorp": Setting(
        "pretrain/three_stage/3_finetune",
        ("sentiment", "accuracy"),
        ("scratch", "general", "general, task"),
        FRESH,
    ),
    "tnews": Setting("zh_tnews", ("topic", "accuracy"), ("scratch", "general", "general, titles"), FRESH),
    "msra_ner": Setting("zh_msra_ner", ("ner", "f1"), ("scratch", "general"), FRESH),
    "chnsenticorp_lstm": Setting(
        "zh_chnsenticorp_lstm",
        ("sentiment", "accuracy"),
        ("scratch", "language model"),
        {"encoder.vocab": FRESH["encoder.vocab"]},
    ),
    "douban_lstm": Setting(
        "zh_douban_lstm",
        ("sentiment", "accuracy"),
        ("scratch", "language model"),
        {"encoder.vocab": FRESH["encoder.vocab"]},
    ),
}


def overrides(values: Mapping[str, Any]) -> list[str]:
    """As the command line gives them."""
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]


def finished(directory: Path) -> dict[str, Any] | None:
    """The figures of a run that is there."""
    path = directory / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else None


def trained(recipe: str, directory: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run, which is trained where it is not there yet."""
    found = finished(directory)
    if found is not None:
        return found
    loaded = braid.Recipe.load(ROOT / "recipes" / f"{recipe}.yaml", overrides({**values, "out": directory}))
    begun = newest_state(directory) is not None
    return dict(braid.train(loaded, resume=begun, overwrite=not begun).metrics)


def pretrained(name: str, runs: Path) -> Path | None:
    """The run that a start names, trained where it is not there yet."""
    start = STARTS[name]
    if start.recipe is None:
        return None
    directory = runs / start.recipe.replace("/", "_")
    before = {} if start.after is None else {"encoder.pretrained": pretrained(start.after, runs)}
    trained(start.recipe, directory, before)
    return directory


def main() -> None:
    """Train what is missing, and print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", default=",".join(SETTINGS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "pretraining")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    table = Table("task", "metric", "start", "mean", "deviation", "seeds", "minutes each")
    out: dict[str, Any] = {}
    for name in options.only.split(","):
        setting = SETTINGS[name]
        for start in setting.starts:
            scores, seconds = [], []
            for seed in seeds:
                directory = options.runs / f"{name}_{start.replace(', ', '_').replace(' ', '_')}_{seed}"
                if not options.table:
                    origin = pretrained(start, options.runs)
                    fresh = dict(setting.fresh) if origin is None else dict.fromkeys(setting.fresh)
                    trained(setting.recipe, directory, {**fresh, "encoder.pretrained": origin, "seed": seed})
                figures = finished(directory)
                if figures is not None:
                    task, metric = setting.metric
                    scores.append(100 * figures["test"][task][metric])
                    seconds.append(figures["train"]["seconds"])
            if not scores:
                continue
            deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
            minutes = statistics.mean(seconds) / 60
            out.setdefault(name, {})[start] = round(statistics.mean(scores), 2)
            table.add_row(
                name,
                setting.metric[1],
                start,
                f"{statistics.mean(scores):.2f}",
                f"{deviation:.2f}",
                str(len(scores)),
                f"{minutes:.1f}",
            )
    Console(width=110).print(table)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
