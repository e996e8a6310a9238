"""The recipe: one file (or one call) that says everything about a run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from braid.config.chain import Chain, parse
from braid.config.families import EncoderConfig, SourceConfig, TaskConfig
from braid.config.problems import problems_of
from braid.config.training import TrainConfig
from braid.config.variant import Config
from braid.config.yaml_files import Positions, apply_overrides, dump, read_yaml
from braid.errors import BraidError, ChainError, Place, PluginError, Problem, RecipeError, did_you_mean, nearest

NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]+")
RESERVED = ("text", "pair", "words", "query", "options", "label", "labels")
"""Keys of native rows, which can therefore be no task's name."""


class Recipe(Config):
    """Everything about a run: encoder, tasks, how they are braided, how they are trained."""

    name: str = "run"
    """Names the run directory."""

    seed: int = Field(default=1, ge=0)
    """Fixes weights, order and dropout."""

    plugins: list[str] = Field(default_factory=list)
    """Python files or modules to import first: your own task types, encoders, sources."""

    encoder: EncoderConfig
    """The encoder that all tasks share."""

    tasks: dict[str, TaskConfig] = Field(min_length=1)
    """The tasks by name."""

    chain: str = ""
    """How the tasks are braided; all joined by `|` where it is left out."""

    train: TrainConfig = Field(default_factory=TrainConfig)
    """How it is trained."""

    out: str = ""
    """The run directory; `runs/NAME` where it is left out."""

    cache: str | None = ".braid_cache"
    """Folder of the token cache; null: keep tokens in memory."""

    def __init__(self, **data: Any) -> None:
        _load_plugins(data.get("plugins"))
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise RecipeError(problems_of(error, Recipe), title="the recipe is wrong:") from None
        semantic = self._problems()
        if semantic:
            raise RecipeError(semantic, title="the recipe is wrong:")

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        tasks = value.get("tasks")
        if not value.get("chain") and isinstance(tasks, Mapping):
            value["chain"] = " | ".join(str(name) for name in tasks)
        if not value.get("out") and isinstance(value.get("name", "run"), str):
            value["out"] = f"runs/{value.get('name', 'run')}"
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("a name is made of A-Z a-z 0-9 _ . - and does not begin with a dot")
        return value

    @field_validator("tasks")
    @classmethod
    def _task_names(cls, value: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no task name: use A-Z a-z 0-9 _ . - and no dot at the beginning")
            if name in RESERVED:
                raise ValueError(f"{name!r} cannot be a task's name: rows use that key for their input")
        return value

    def _problems(self) -> list[Problem]:
        """What is wrong although every single field is right."""
        try:
            chain = parse(self.chain)
        except ChainError as error:
            return [Problem(what=str(error), key="chain")]
        out = []
        for name in chain.names:
            if name not in self.tasks:
                caret = ChainError("", chain=self.chain, position=self.chain.index(name))
                out.append(Problem(
                    what=f"there is no task {name!r}: {did_you_mean(name, self.tasks)}{str(caret)}", key="chain"
                ))
        for name in self.tasks:
            if name not in chain.names:
                todo = f"add it (`{self.chain} | {name}`) or remove it from `tasks`"
                out.append(Problem(what=f"task {name!r} does not stand in the chain", key=f"tasks.{name}", todo=todo))
        for entry in self.train.best:
            task = entry if entry in self.tasks else entry.rpartition(".")[0]
            if task not in self.tasks:
                what = f"there is no task {entry!r}: {did_you_mean(entry, self.tasks)}"
                out.append(Problem(what=what, key="train.best"))
        for name, task_config in self.tasks.items():
            if not task_config.data.train:
                out.append(Problem(what="`data.train` is missing", key=f"tasks.{name}.data.train"))
        return out

    @property
    def parsed_chain(self) -> Chain:
        """The chain as groups."""
        return parse(self.chain)

    @classmethod
    def load(cls, path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Self:
        """The recipe in a YAML file, with overrides such as `train.lr=3e-5`.

        Raises RecipeError with all problems, each with its file and line."""
        file = Path(path)
        data, positions = read_yaml(file)
        data.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]", "_", file.name.split(".")[0]).lstrip(".") or "run")
        apply_overrides(data, positions, overrides)
        try:
            recipe = cls(**data)
        except RecipeError as error:
            raise RecipeError(located(error.problems, positions), title=f"{file} is wrong:") from None
        missing = recipe.missing_files()
        if missing:
            raise RecipeError(located(missing, positions), title=f"{file} names files that are not there:")
        return recipe

    def missing_files(self) -> list[Problem]:
        """A problem for every data file that does not exist."""
        out = []
        for name, task in self.tasks.items():
            for split in ("train", "dev", "test"):
                for number, source in enumerate(getattr(task.data, split)):
                    path = getattr(source, "path", None)
                    if isinstance(source, SourceConfig) and path is not None and not os.path.exists(path):
                        key = f"tasks.{name}.data.{split}.{number}"
                        out.append(Problem(what=f"there is no file {os.path.abspath(path)}{_near(path)}", key=key))
        return out

    def check_files(self) -> None:
        """Raise RecipeError for data files that do not exist."""
        missing = self.missing_files()
        if missing:
            raise RecipeError(missing, title="the recipe names files that are not there:")

    def to_yaml(self) -> str:
        """The whole recipe, every default filled in; `Recipe.load` reads it again."""
        return dump(self.model_dump(mode="json"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml` to a file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")


def located(problems: Sequence[Problem], positions: Positions) -> list[Problem]:
    """Problems with the file and line of their keys, in the order of the file."""
    out = [
        Problem(what=p.what, key=p.key, todo=p.todo, place=p.place or positions.find(p.key or "")) for p in problems
    ]
    return sorted(out, key=lambda p: (isinstance(p.place, Place) and p.place.line) or 0)


def _near(path: str) -> str:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return f" (nor the folder {folder})"
    near = nearest(os.path.basename(path), os.listdir(folder))
    return f"; did you mean {near!r}?" if near else ""


def _load_plugins(plugins: Any) -> None:
    """Import plugins and let the schema know their variants."""
    if not isinstance(plugins, list | tuple) or not plugins:
        return
    for plugin in plugins:
        try:
            if str(plugin).endswith(".py"):
                _import_file(Path(plugin))
            else:
                importlib.import_module(str(plugin))
        except (PluginError, BraidError):
            raise
        except Exception as error:
            raise RecipeError([Problem(what=f"cannot import {plugin!r}: {error!r}", key="plugins")]) from error
    DataModels = (TrainConfig, Recipe)
    for model in DataModels:
        model.model_rebuild(force=True)


def _import_file(path: Path) -> None:
    name = f"braid_plugin_{path.stem}"
    file = str(path.resolve())
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == file:
            return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not path.is_file():
        raise BraidError(f"plugins: there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
