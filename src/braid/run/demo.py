"""`braid demo`: data, training, evaluation and predictions in one go, all made on the spot."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import braid
from braid.config.recipe import Recipe
from braid.errors import Interrupted
from braid.run.train import Run, train
from braid.tools.demo_data import write_demo_data


def demo(folder: Path, overrides: Sequence[str] = ()) -> Run:
    """Write the demo's data and recipe into a folder, train there, print predictions."""
    folder.mkdir(parents=True, exist_ok=True)
    write_demo_data(folder / "data")
    text = files("braid.tools").joinpath("demo.yaml").read_text(encoding="utf-8").replace("demo/", f"{folder}/")
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    print(f"data and recipe are in {folder}/", file=sys.stderr)
    recipe = Recipe.load(folder / "recipe.yaml", list(overrides))
    try:
        run = train(recipe, overwrite=True)
    except Interrupted as stopped:
        command = shlex.join([*_command().split(), "train", str(folder / "recipe.yaml"), *overrides, "--resume"])
        raise Interrupted(stopped.number, stopped.directory, go_on=f"Go on with: {command}") from None
    model = braid.load(run.directory)
    texts = (folder / "data" / "predict_me.txt").read_text(encoding="utf-8").splitlines()
    for result in model(texts, tasks=[name for name in model.tasks if name != "closeness"]):
        print(f"\n{result.text}")
        for name, prediction in result.items():
            # Only Chinese was segmented in training.
            if name != "segmentation" or re.search("[\u4e00-\u9fff]", result.text):
                print(f"  {name:<13}{_shown(prediction)}")
    pair = ("听说湖边的咖啡好极了。", "昨天去了湖边，咖啡糟糕透了。")
    print(f"\n{pair[0]} / {pair[1]}\n  closeness    {model(pair, tasks=['closeness'])['closeness'].value:.1f} of 5")
    print(
        f"\nChange the sentences in {folder}/data/predict_me.txt and run:\n"
        f"  {_command()} predict {run.directory} {folder}/data/predict_me.txt\n"
    )
    return run


def _command() -> str:
    """How the reader can call braid from here."""
    if shutil.which("braid"):
        return "braid"
    return "python -m braid" if Path(sys.argv[0]).name == "__main__.py" else os.path.relpath(sys.argv[0])


def _shown(prediction: Any) -> str:
    spans = getattr(prediction, "spans", None)
    if spans is not None:
        return "  ".join(f"{span.text}/{span.label}" if span.label else span.text for span in spans) or "-"
    label = getattr(prediction, "label", None)
    return f"{label} ({prediction.probabilities[label]:.2f})" if label is not None else str(prediction)
