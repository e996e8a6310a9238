"""What the files of a run directory say of the run: finished or not, with or without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from braid.checkpoint.files import read_mapping
from braid.config.loading import read_document
from braid.errors import BraidError, RunDirectoryError

Scores = Mapping[str, Mapping[str, float]]
"""Task -> metric -> value."""


@dataclass(frozen=True)
class Record:
    """A run as its files tell it; what is not there is empty. *metrics* is None for an unfinished run; *steps*,
    *evaluations*: the lines of metrics.jsonl; *tasks*: task.json by name; *notes*: what could not be read."""

    directory: Path
    recipe_text: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.metrics is not None

    @property
    def has_model(self) -> bool:
        """Whether there are weights to predict with."""
        return (self.directory / "encoder").is_dir()

    @property
    def name(self) -> str:
        """What the recipe calls the run, else its folder's name."""
        return str(self.recipe.get("name") or self.directory.resolve().name)

    def scores(self, split: str) -> Scores:
        """Figures of a split; of an unfinished run the dev figures of its best step so far."""
        if self.metrics is not None:
            found = self.metrics.get(split, {})
            return found if isinstance(found, Mapping) else {}
        if split != "dev" or not self.evaluations:
            return {}
        best = [line for line in self.evaluations if line.get("best")]
        return (best or self.evaluations)[-1]["dev"]

    def task_names(self) -> list[str]:
        """All tasks that any file names: in the recipe's order, then the others."""
        logged = [task for line in self.steps for task in line.get("loss", {})]
        return list(dict.fromkeys([*self.recipe.get("tasks", {}), *self.tasks, *logged]))

    def task_type(self, name: str) -> str:
        """A task's type, or nothing where no file says it."""
        task = self.recipe.get("tasks", {}).get(name) or self.tasks.get(name) or {}
        return str(task.get("type", ""))

    def main_metric(self, name: str) -> str:
        """The metric that counts for a task: the recipe's, else the first one of its figures."""
        chosen = (self.recipe.get("tasks", {}).get(name) or {}).get("metric")
        seen = [line["dev"].get(name, {}) for line in self.evaluations]
        for scores in (*seen, self.scores("dev").get(name, {}), self.scores("test").get(name, {})):
            if scores:
                return str(chosen) if chosen in scores else next(iter(scores))
        return str(chosen or "")


def read_record(directory: Path) -> Record:
    """Read a run directory, whatever of it there is. Raises RunDirectoryError for a folder that is none."""
    if not directory.is_dir():
        raise RunDirectoryError(f"there is no run directory {directory.resolve()}")
    notes: list[str] = []
    recipe_text, recipe = "", {}
    path = directory / "recipe.yaml"
    if path.is_file():
        try:
            recipe_text = path.read_text(encoding="utf-8")
            recipe = dict(read_document(path).data)
        except (BraidError, ValueError, OSError) as error:
            notes.append(f"recipe.yaml cannot be read: {error}")
    steps, evaluations = _log(directory / "metrics.jsonl", notes)
    metrics = _mapping(directory / "metrics.json", notes)
    if not recipe_text and metrics is None and not steps and not (directory / "encoder").is_dir():
        raise RunDirectoryError(
            f"{directory} is no run directory: it has neither recipe.yaml, metrics.json nor encoder/. "
            f"`braid inspect {directory}` says what it is"
        )
    tasks = {}
    for task in sorted((directory / "tasks").glob("*/task.json")):
        if found := _mapping(task, notes):
            tasks[task.parent.name] = found
    best = directory / "best"
    return Record(
        directory=directory,
        recipe_text=recipe_text,
        recipe=recipe,
        environment=_mapping(directory / "environment.json", notes) or {},
        metrics=metrics,
        data=_mapping(directory / "data.json", notes) or {},
        best=(_mapping(best, notes) or {}) if best.is_file() else {},
        steps=steps,
        evaluations=evaluations,
        tasks=tasks,
        notes=notes,
    )


def _mapping(path: Path, notes: list[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return read_mapping(path)
    except RunDirectoryError as error:
        notes.append(str(error))
        return None


def _log(path: Path, notes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of steps and of evaluations. A line that was cut off is left out, counted."""
    steps: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    damaged = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        content = line.get("dev", line.get("loss")) if isinstance(line, dict) else None
        if isinstance(line, dict) and isinstance(content, dict) and isinstance(line.get("step"), int):
            (evaluations if "dev" in line else steps).append(line)
        else:
            damaged += 1
    if damaged:
        notes.append(f"{damaged} damaged lines of metrics.jsonl are left out")
    return steps, evaluations
