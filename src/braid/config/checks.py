"""What can be wrong with a recipe although each of its values is right by itself.

These look at the recipe as it was written, so that they speak up also where other values are wrong.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from braid.config.chain import Chain, parse
from braid.config.families import DataConfig, RegulariserConfig, TaskConfig
from braid.config.loading import KeyPath
from braid.config.plugins import import_plugin
from braid.config.problems import dotted
from braid.config.training import TrainConfig
from braid.errors import BraidError, ChainError, Problem, did_you_mean, nearest

RESERVED = ("text", "pair", "words", "query", "options", "label", "labels")
"""Keys of native rows, which can therefore be no task's name."""

_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]+")


def name_problem(name: str) -> str | None:
    """What is wrong with a name that becomes a folder's; None: nothing."""
    if _NAME.fullmatch(name):
        return None
    return f"{name!r} is no name: use A-Z a-z 0-9 _ . - and no dot at the beginning"


def plugin_problems(plugins: Any) -> list[Problem]:
    """Import the plugins of a recipe; a problem for each that cannot be."""
    out = []
    for place, plugin in enumerate(plugins if isinstance(plugins, list | tuple) else []):
        if not isinstance(plugin, str):
            continue
        try:
            import_plugin(plugin)
        except BraidError as error:
            path: KeyPath = ("plugins", place)
            out.append(Problem(what=str(error), key=dotted(path), path=path))
    return out


def task_name_problems(tasks: Any) -> list[Problem]:
    """Names that cannot be folders in a run directory or keys of a row, and no task at all."""
    if not isinstance(tasks, Mapping):
        return []
    if not tasks:
        return [Problem(what="a recipe needs at least one task", key="tasks", path=("tasks",))]
    out = []
    for name in map(str, tasks):
        what = name_problem(name)
        if name in RESERVED:
            what = f"{name!r} cannot be a task's name: rows have their input under that key"
        if what is not None:
            out.append(Problem(what=what, key=f"tasks.{name}", path=("tasks", name)))
    return out


def chain_problems(given: Mapping[str, Any]) -> list[Problem]:
    """What does not fit between `tasks`, `chain`, `train.best` and the tasks' training data."""
    tasks = given.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        return []
    out = [*_unbraided(given.get("chain"), tasks)]
    train = given.get("train")
    best = train.best if isinstance(train, TrainConfig) else train.get("best") if isinstance(train, Mapping) else None
    for place, entry in enumerate([best] if isinstance(best, str) else best if isinstance(best, list | tuple) else []):
        if not isinstance(entry, str) or entry in tasks or entry.rpartition(".")[0] in tasks:
            continue
        task, dot, metric = entry.rpartition(".")
        path: KeyPath = ("train", "best", place) if not isinstance(best, str) else ("train", "best")
        near = nearest(task, tasks) if dot else None
        hint = f"did you mean '{near}.{metric}'?" if near is not None else did_you_mean(entry, map(str, tasks))
        out.append(Problem(what=f"there is no task {entry!r}: {hint}", key=dotted(path), path=path))
    for name, task in tasks.items():
        if not _needs_data(task):
            continue
        data = task.get("data") if isinstance(task, Mapping) else getattr(task, "data", None)
        training = data.get("train") if isinstance(data, Mapping) else getattr(data, "train", data)
        if training in (None, [], ()):
            path = ("tasks", name, "data") if data is not None else ("tasks", name)
            out.append(Problem(what="`data.train` is missing: no rows to learn from", key=dotted(path), path=path))
    return out


def regulariser_problems(given: Mapping[str, Any]) -> list[Problem]:
    """Regularisers that cannot work with the recipe's encoder, or with one of its tasks."""
    train, tasks, encoder = given.get("train"), given.get("tasks"), given.get("encoder")
    found = _option(train, "regularisers")
    alone = isinstance(found, str | Mapping)
    out = []
    for place, entry in enumerate([found] if alone else found if isinstance(found, list | tuple) else []):
        kind = entry if isinstance(entry, str) else _option(entry, "type")
        variant = RegulariserConfig.variants().get(kind) if isinstance(kind, str) else None
        path: KeyPath = ("train", "regularisers") if alone else ("train", "regularisers", place)
        if variant is None:
            continue
        if variant.needs_pretrained and encoder is not None and _option(encoder, "pretrained") is None:
            what = f"{kind} keeps weights near the pretrained ones, but the encoder has no `pretrained`"
            out.append(Problem(what=what, key=dotted(path), path=path))
        for name, task in tasks.items() if variant.compares and isinstance(tasks, Mapping) else ():
            sort = _option(task, "type")
            config = TaskConfig.variants().get(sort) if isinstance(sort, str) else None
            if config is not None and not config.comparable:
                what = f"{kind} compares two answers to one row; task {str(name)!r} (type {sort}) has no measure for it"
                able = [other for other, known in RegulariserConfig.variants().items() if not known.compares]
                todo = f"leave {kind} or the task out; any type goes with {', '.join(able)}"
                out.append(Problem(what=what, todo=todo, key=dotted(path), path=path))
    return out


def _option(config: Any, name: str) -> Any:
    """An option of a config, or of the mapping that describes one; None: it is not given."""
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def teacher_problems(given: Mapping[str, Any]) -> list[Problem]:
    """Teachers of tasks that do not exist."""
    distill, tasks = given.get("distill"), given.get("tasks")
    teachers = distill.get("teachers") if isinstance(distill, Mapping) else getattr(distill, "teachers", None)
    if not isinstance(teachers, Mapping) or not isinstance(tasks, Mapping):
        return []
    out = []
    for name in map(str, teachers):
        if name not in tasks:
            path: KeyPath = ("distill", "teachers", name)
            what = f"there is no task {name!r}: {did_you_mean(name, map(str, tasks))}"
            out.append(Problem(what=what, key=dotted(path), path=path))
    return out


def _needs_data(task: Any) -> bool:
    """Whether a task must have data of its own; so does one of a type that is not known."""
    kind = task.get("type") if isinstance(task, Mapping) else getattr(task, "type", None)
    variant = TaskConfig.variants().get(kind) if isinstance(kind, str) else None
    return variant is None or variant.needs_data


def _unbraided(text: Any, tasks: Mapping[Any, Any]) -> Iterator[Problem]:
    """Tasks of the chain that do not exist, and tasks that do not stand in the chain."""
    if isinstance(text, Chain):
        text = text.text or str(text)
    if not isinstance(text, str):
        return
    try:
        chain = parse(text)
    except ChainError as error:
        yield Problem(what=str(error), key="chain", path=("chain",))
        return
    names = set(chain.names)
    for link in chain.links:
        if link.name not in tasks:
            unused = [name for name in tasks if name not in names]
            near = nearest(link.name, unused) or nearest(link.name, tasks)
            hint = f"did you mean {near!r}?" if near else did_you_mean(link.name, map(str, tasks))
            pointed = ChainError(f"there is no task {link.name!r}: {hint}", chain=text, position=link.position)
            yield Problem(what=str(pointed), key="chain", path=("chain",))
    for name in tasks:
        if name not in names:
            what = f"task {name!r} does not stand in the chain"
            todo = f"add it, for example `{chain} | {name}`, or remove it from `tasks`"
            yield Problem(what=what, todo=todo, key=f"tasks.{name}", path=("tasks", name))


def missing_files(tasks: Any, written: Any = None) -> list[Problem]:
    """A problem for every data file that does not exist. *tasks*: configs, or mappings of which those are looked at
    that can be understood; *written*: the tasks as they were written, for the keys."""
    out: dict[tuple[KeyPath, str], Problem] = {}
    for name, task in tasks.items() if isinstance(tasks, Mapping) else ():
        data = _data_of(task)
        given = written.get(name) if isinstance(written, Mapping) else None
        given = given.get("data") if isinstance(given, Mapping) else None
        for split, place, source in data.splits() if data is not None else ():
            file = getattr(source, "path", None)
            what = _missing(file, folder=source.reads_folder) if isinstance(file, str) else None
            if what is not None:
                path: KeyPath = ("tasks", name, "data")
                items = given.get(split) if isinstance(given, Mapping) else given
                if given is None or isinstance(given, Mapping):
                    path = (*path, split)
                if given is None or isinstance(items, list | tuple):
                    path = (*path, place)
                out.setdefault((path, what), Problem(what=what, key=dotted(path), path=path))
    return list(out.values())


def _data_of(task: Any) -> DataConfig | None:
    data = task.get("data") if isinstance(task, Mapping) else getattr(task, "data", None)
    if data is None or isinstance(data, DataConfig):
        return data
    try:
        return DataConfig.model_validate(data)
    except ValidationError:
        return None


def _missing(file: str, *, folder: bool) -> str | None:
    """What is wrong with the path of a data file, or of a folder; None: it is there."""
    if os.path.isdir(file) != folder and os.path.exists(file):
        if folder:
            return f"{file!r} is a file, not a folder"
        return f"{file!r} is a folder, not a file"
    if os.path.exists(file):
        return None
    if glob.has_magic(file):
        return None if glob.glob(file, recursive=True) else f"no file matches {file!r} in {os.getcwd()}"
    parent = os.path.dirname(file)
    what = f"there is no {'folder' if folder else 'file'} {file!r}"
    if not os.path.isabs(file):
        what += f" in {os.getcwd()}"
    if not os.path.isdir(parent or "."):
        return f"{what} (nor the folder {parent!r})"
    near = nearest(os.path.basename(file), os.listdir(parent or "."))
    return f"{what}; did you mean {os.path.join(parent, near)!r}?" if near else what
