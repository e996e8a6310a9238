"""Braid: one text encoder that does many tasks.

import braid
run = braid.train(braid.Recipe.load("recipe.yaml"))
model = braid.load(run.directory)
model("some text")["sentiment"].label
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from braid.errors import BraidError

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "BraidError",
    "Client",
    "Recipe",
    "__version__",
    "average",
    "check",
    "evaluate",
    "inspect",
    "load",
    "sweep",
    "train",
]

if TYPE_CHECKING:
    from braid.client.client import AsyncClient, Client
    from braid.config.recipe import Recipe
    from braid.predict.model import Model
    from braid.run.folds import Folds
    from braid.run.results import Results
    from braid.run.train import Run
    from braid.tools.average import Average
    from braid.tools.inspect import Report


def __getattr__(name: str) -> Any:
    """`braid.Recipe` and the clients, imported when they are first asked for: `import braid` itself stays light."""
    if name == "Recipe":
        from braid.config.recipe import Recipe

        return Recipe
    if name in ("AsyncClient", "Client"):
        from braid.client import client

        return getattr(client, name)
    raise AttributeError(f"module 'braid' has no attribute {name!r}")


@overload
def train(recipe: Recipe | str | os.PathLike[str], *, folds: None = None, **options: Any) -> Run: ...
@overload
def train(recipe: Recipe | str | os.PathLike[str], *, folds: int, **options: Any) -> Folds: ...
def train(recipe: Recipe | str | os.PathLike[str], *, folds: int | None = None, **options: Any) -> Any:
    """Train a recipe (or the one in a file); see `braid.run.train.train`. *folds*: so many times, each without a part
    of the training rows; see `braid.run.folds.train_folds`."""
    if folds is not None:
        from braid.run.folds import train_folds

        return train_folds(_recipe(recipe), folds, **options)
    from braid.run.train import train as run_training

    return run_training(_recipe(recipe), **options)


def sweep(recipe: Any, axes: Sequence[str], **options: Any) -> Results:
    """Train a recipe with many values (`["lr=1e-5,3e-5", "seed=1..3"]`); see `braid.run.sweep.sweep`."""
    from braid.run.sweep import sweep as run_sweep

    return run_sweep(recipe, axes, **options)


def average(runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], **options: Any) -> Average:
    """The mean of several models' weights as a run directory; see `braid.tools.average.average`."""
    from braid.run.averaging import average as run_average

    return run_average([Path(run) for run in runs], Path(out), **options)


def inspect(path: str | os.PathLike[str]) -> Report:
    """What a directory or file is and whether it is whole; see `braid.tools.inspect.Report`."""
    from braid.tools.inspect import inspect as look

    return look(Path(path))


def load(run: str | os.PathLike[str] | Run, **options: Any) -> Model:
    """The model in a run directory, ready to predict, or in one that `braid export` made; see
    `braid.predict.model.Model`."""
    directory = Path(getattr(run, "directory", run))  # type: ignore[arg-type]
    if (directory / "export.json").is_file():
        from braid.export.model import ExportedModel

        return cast("Model", ExportedModel.load(directory, **options))  # it is used as one
    from braid.predict.model import Model

    options.pop("trusted", None)  # a run is safetensors and JSON, and needs no trust
    return Model.load(directory, **options)


def evaluate(run: str | os.PathLike[str] | Run, split: str = "test", **options: Any) -> dict[str, dict[str, float]]:
    """{task: {metric: value}} of a run's model on a split of the data that its recipe names."""
    return load(run, **options).evaluate(split)


def check(recipe: Recipe | str | os.PathLike[str], **options: Any) -> Any:
    """Look at a recipe and all its data without training; see `braid.tools.check.check`."""
    from braid.run.checking import check as run_check

    return run_check(_recipe(recipe), **options)


def _recipe(recipe: Recipe | str | os.PathLike[str]) -> Recipe:
    from braid.config.recipe import Recipe as RecipeClass

    return recipe if isinstance(recipe, RecipeClass) else RecipeClass.load(recipe)
