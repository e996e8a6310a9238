"""Braid: one text encoder that does many tasks.

import braid
run = braid.train(braid.Recipe.load("recipe.yaml"))
model = braid.load(run.directory)
model("some text")["sentiment"].label
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braid.errors import BraidError

__version__ = "0.1.0"
__all__ = ["BraidError", "Recipe", "__version__", "check", "evaluate", "load", "train"]

if TYPE_CHECKING:
    from braid.config.recipe import Recipe
    from braid.predict.model import Model
    from braid.run.train import Run


def __getattr__(name: str) -> Any:
    """`braid.Recipe`, imported when it is first asked for: `import braid` itself stays light."""
    if name == "Recipe":
        from braid.config.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'braid' has no attribute {name!r}")


def train(recipe: Recipe | str | os.PathLike[str], **options: Any) -> Run:
    """Train a recipe (or the one in a file); see `braid.run.train.train`."""
    from braid.run.train import train as run_training

    return run_training(_recipe(recipe), **options)


def load(run: str | os.PathLike[str] | Run, **options: Any) -> Model:
    """The model in a run directory, ready to predict; see `braid.predict.model.Model`."""
    from braid.predict.model import Model

    directory: Any = getattr(run, "directory", run)
    return Model.load(Path(directory), **options)


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
