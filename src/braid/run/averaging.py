"""`average`: what the user named -> models to average. A saved state becomes a run directory first."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from braid.checkpoint.files import write_bytes, write_json
from braid.checkpoint.state import load_weights
from braid.config.recipe import Recipe
from braid.errors import BraidError, Problem, ProblemsError
from braid.model.corpora import learn_text, text_facts
from braid.model.network import BraidModel, TaskSpec
from braid.parallel.world import ALONE
from braid.run.build import Parts, build_parts, write_model
from braid.run.dataset import learn, read_data, task_of, with_tokenizer
from braid.run.train import environment
from braid.tools.average import Average, Ingredient
from braid.tools.average import average as average_models


def average(paths: Sequence[str | Path], out: str | Path, **options: Any) -> Average:
    """Average finished runs, saved states (`RUN/state/step-20`, `RUN/state/best`), or all saved states of an unfinished
    run, and write a run directory. Options: those of `braid.tools.average.average`.

    States hold weights alone: the data of their recipe is read again, for labels and vocabulary. Raises BraidError."""
    with tempfile.TemporaryDirectory(prefix="braid-states-") as scratch:
        return average_models(_ingredients([Path(path) for path in paths], Path(scratch)), Path(out), **options)


def _ingredients(paths: Sequence[Path], scratch: Path) -> list[Ingredient]:
    found: list[tuple[Path, bool]] = []
    problems = []
    for path in paths:
        if (path / "encoder").is_dir():
            found.append((path, False))
        elif (path / "weights.safetensors").is_file() or (path / "shards").is_dir():
            found.append((path, True))
        elif states := _states(path):
            found += [(state, True) for state in states]
        else:
            what = "is no run directory and no saved state" if path.exists() else "is not there"
            problems.append(Problem(what=f"{path} {what}", todo="`braid inspect PATH` says what a path is"))
    if problems:
        raise ProblemsError(problems)
    built: dict[Path, tuple[Recipe, Parts, BraidModel]] = {}
    out = []
    for number, (path, is_state) in enumerate(found):
        if not is_state:
            out.append(Ingredient(str(path), path))
            continue
        run = path.resolve().parent.parent
        if run not in built:
            built[run] = _rebuilt(run)
        folder = scratch / str(number)
        folder.mkdir()
        _write_run(path, *built[run], folder)
        out.append(Ingredient(str(path), folder))
    return out


def _states(run: Path) -> list[Path]:
    """The saved states of an unfinished run, the oldest first; not `best`, which is one of its steps."""
    found = [path for path in (run / "state").glob("step-*") if (path / "state.json").is_file()]
    return sorted(found, key=lambda path: int(re.sub(r"\D", "", path.name) or 0))


def _rebuilt(run: Path) -> tuple[Recipe, Parts, BraidModel]:
    """An unfinished run's model, as its training built it."""
    recipe = Recipe.load_saved(run / "recipe.yaml")
    try:
        data = read_data(recipe, splits=["train"])
        parts = build_parts(recipe, data)
        facts = with_tokenizer(recipe, learn(recipe, data), parts.tokenizer)
    except BraidError as error:
        raise BraidError(f"{run} is unfinished, and its model cannot be built without its data: {error}") from error
    facts.update(learn_text(recipe, text_facts(parts.tokenizer, parts.encoder)))
    names = [link.name for group in recipe.parsed_chain.groups for link in group.tasks]
    return (
        recipe,
        parts,
        BraidModel(parts.encoder, {name: TaskSpec(task_of(recipe, name), facts[name]) for name in names}),
    )


def _write_run(state: Path, recipe: Recipe, parts: Parts, model: BraidModel, folder: Path) -> None:
    load_weights(state, model)
    write_model(folder, recipe, parts, model)
    write_bytes(folder / "recipe.yaml", recipe.to_yaml().encode())
    write_json(folder / "environment.json", environment(recipe, ALONE))
