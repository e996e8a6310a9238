"""The recipe: one file (or one call) that says everything about a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from braid.config import overrides as overriding
from braid.config.chain import Chain, parse
from braid.config.checks import (
    chain_problems,
    name_problem,
    plugin_problems,
    regulariser_problems,
    task_name_problems,
    teacher_problems,
)
from braid.config.checks import missing_files as _missing_files
from braid.config.distillation import DistillConfig
from braid.config.families import EncoderConfig, TaskConfig
from braid.config.loading import Document, dump, read_document
from braid.config.overrides import Overridden
from braid.config.problems import problems_of
from braid.config.training import TrainConfig
from braid.config.variant import Config
from braid.errors import Place, Problem, RecipeError


def _named(value: str) -> str:
    if problem := name_problem(value):
        raise ValueError(problem)
    return value


class Recipe(Config):
    """Everything about a run: encoder, tasks, how they are braided, how they are trained.

    Raises RecipeError with all problems, however it is made."""

    name: Annotated[str, AfterValidator(_named)] = "run"
    """Names the run directory. From a file, the file's name without its ending is the default."""

    seed: int = Field(default=1, ge=0, lt=2**63)
    """Fixes weights, order of rows, cuts and dropout."""

    plugins: list[str] = Field(default_factory=list)
    """Python files or modules to import first: your own task types, encoders, sources."""

    encoder: EncoderConfig
    """The encoder that all tasks share."""

    tasks: dict[str, TaskConfig]
    """The tasks by name."""

    chain: str = Field(default_factory=lambda data: " | ".join(data.get("tasks", {})))
    """How the tasks are braided: `a & b | c*2`. Left out: all tasks joined by `|`."""

    train: TrainConfig = Field(default_factory=TrainConfig)
    """How the model is trained."""

    distill: DistillConfig | None = None
    """Teachers of its tasks. None: they learn from their rows alone."""

    out: str = Field(default_factory=lambda data: f"runs/{data.get('name')}", min_length=1)
    """The run directory. Left out: `runs/NAME`."""

    cache: str | None = ".braid_cache"
    """Folder of the token cache; null: tokens are kept in memory."""

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems(cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Validate, and raise everything that is wrong at once. RecipeError is no ValueError: pydantic lets it pass."""
        if isinstance(given, Recipe):
            return cast(Self, given)
        if not isinstance(given, Mapping):
            raise RecipeError([Problem(what=f"a recipe is a mapping, not {type(given).__name__}")])
        given = {str(key): value for key, value in given.items() if not (key in _OPTIONAL and value in (None, ""))}
        unsafe = (info.context or {}).get("plugins") is False
        problems = [] if unsafe else plugin_problems(given.get("plugins"))
        failed_plugins = bool(problems)
        recipe = None
        try:
            recipe = handler(given)
        except ValidationError as error:
            problems += [
                problem
                for problem in problems_of(error, cls, given)
                # A type that a failed plugin would have brought is no second mistake.
                if not (failed_plugins and re.match(r"unknown \w+ type", problem.what))
            ]
        problems += task_name_problems(given.get("tasks"))
        problems += chain_problems(given)
        problems += regulariser_problems(given)
        problems += teacher_problems(given)
        if problems:
            raise RecipeError(problems, title=_title("the recipe", problems))
        assert recipe is not None
        return recipe

    @field_validator("chain", mode="before")
    @classmethod
    def _chain_text(cls, value: Any) -> Any:
        return (value.text or str(value)) if isinstance(value, Chain) else value

    @property
    def parsed_chain(self) -> Chain:
        """The chain as groups."""
        return parse(self.chain)

    @classmethod
    def load(cls, recipe: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()) -> Self:
        """The recipe in a YAML file, or in a mapping, with overrides such as `train.lr=3e-5`.

        Imports its plugins. Raises RecipeError with all problems, each with its place; files that do not exist are
        problems too."""
        given = overriding.apply(_document(recipe), [overrides] if isinstance(overrides, str) else overrides)
        return cls._build(given, trusted=True)

    @classmethod
    def load_saved(cls, path: str | os.PathLike[str]) -> Self:
        """The `recipe.yaml` of a run directory. Imports nothing that it names, and looks for no files: who reads data
        finds out."""
        return cls._build(overriding.apply(read_document(path), ()), trusted=False)

    @classmethod
    def _build(cls, given: Overridden, *, trusted: bool) -> Self:
        file = given.document.file
        problems = list(given.problems)
        recipe = None
        try:
            recipe = cls.model_validate(given.data, context={"plugins": trusted})
            tasks: Any = recipe.tasks
        except RecipeError as error:
            problems += error.problems
            tasks = given.data.get("tasks")
        if trusted:
            problems += _missing_files(tasks, written=given.data.get("tasks"))
        if problems:
            placed = [_placed(problem, given) for problem in problems]
            raise RecipeError(sorted(placed, key=_order), title=_title(file or "the recipe", placed))
        assert recipe is not None
        return recipe

    def missing_files(self) -> list[Problem]:
        """A problem for every data file that does not exist."""
        return _missing_files(self.tasks)

    def check_files(self) -> None:
        """Raise RecipeError for data files that do not exist."""
        if missing := self.missing_files():
            raise RecipeError(missing, title=_title("the recipe", missing))

    def to_yaml(self) -> str:
        """The whole recipe as YAML, every default filled in; `Recipe.load` reads it again."""
        return dump(self.model_dump(mode="json"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml` to a file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")


_OPTIONAL = ("name", "chain", "out", "train", "plugins", "distill")
"""Keys that mean their default where they are left empty."""


def _document(recipe: str | os.PathLike[str] | Mapping[str, Any]) -> Document:
    if isinstance(recipe, Mapping):
        return Document("", {str(key): value for key, value in recipe.items()})
    document = read_document(recipe)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(recipe).name.split(".")[0]).strip("._-")
    if stem and document.data.get("name") is None:
        document.data["name"] = stem
    return document


def _placed(problem: Problem, given: Overridden) -> Problem:
    """A problem with its place, by its path."""
    place = problem.place or given.place(problem.path)
    shown = place if place.file else None
    return Problem(what=problem.what, place=shown, key=problem.key, todo=problem.todo, path=problem.path)


def _order(problem: Problem) -> tuple[bool, int]:
    """By line; what overrides did wrong comes last."""
    place = problem.place or Place(file="")
    return place.file.startswith("override "), place.line or 0


def _title(what: str, problems: Sequence[Problem]) -> str | None:
    return f"{what} has {len(problems)} problems:" if len(problems) > 1 else None
