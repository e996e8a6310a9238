"""Recipe -> the data of every group: examples, what the tasks learn from them, token rows, targets.

Everything that can be wrong with the data is found here, before the first step.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from braid.config.recipe import Recipe
from braid.data.assemble import GroupRead, read_group
from braid.data.bundles import Together, bundle
from braid.data.cache import TokenRows
from braid.data.example import Example
from braid.data.groups import GroupData, build_targets
from braid.data.prepare import prepare
from braid.data.tokens import Tokenizer
from braid.data.windows import WindowOptions, common_layout, units_of
from braid.errors import DataError, LabelError, Place, Problem, SkippedLabelError
from braid.model.network import TaskSpec
from braid.tasks.base import Facts, LabelledTask, Task

SPLITS = ("train", "dev", "test")
TOGETHER: tuple[Together, ...] = ("row", "example", "query")
"""What stays in one batch, from little to much."""
Say = Callable[[str], None]
SkippedLabels = dict[str, dict[str, list[Place | None]]]
"""{task: {reason: places}} of labels that are left out."""


@dataclass(frozen=True)
class ReadData:
    """What the files hold. *groups*: task names of each group; *reads*: split -> one read per group."""

    groups: tuple[tuple[str, ...], ...]
    reads: dict[str, list[GroupRead]]
    facts: dict[str, Facts] = field(default_factory=dict)

    def examples(self, split: str) -> Iterable[Example]:
        """All examples of one split."""
        return (example for read in self.reads[split] for example in read.examples)

    def sha256s(self) -> list[str]:
        """Hash of every group's training rows with their labels: another hash is another run."""
        out = []
        for read in self.reads["train"]:
            digest = hashlib.sha256()
            for example in read.examples:
                row = [example.text, example.pair, example.words, dict(example.labels)]
                digest.update(json.dumps(row, sort_keys=True, default=str).encode())
            out.append(digest.hexdigest())
        return out


def task_of(recipe: Recipe, name: str) -> Task:
    """A task's config as what it is: a `Task`."""
    task = recipe.tasks[name]
    assert isinstance(task, Task)
    return task


def labelled(recipe: Recipe, names: Iterable[str]) -> dict[str, LabelledTask]:
    """Those of some tasks whose rows carry labels."""
    return {name: task for name in names if isinstance(task := recipe.tasks[name], LabelledTask)}


def read_data(recipe: Recipe, *, splits: Iterable[str] = SPLITS) -> ReadData:
    """Read all files of the recipe's tasks. Raises DataError with the problems of all tasks."""
    groups = tuple(tuple(link.name for link in group.tasks) for group in recipe.parsed_chain.groups)
    reads: dict[str, list[GroupRead]] = {}
    problems: list[Problem] = []
    for split in splits:
        reads[split] = []
        for tasks in groups:
            try:
                found = labelled(recipe, tasks)
                data = {name: task.data for name, task in found.items()}
                defaults = {name: task.default_label for name, task in found.items()}
                read = read_group(data, split, seed=recipe.seed, defaults=defaults) if found else GroupRead([])
                reads[split].append(read)
            except DataError as error:
                problems += [
                    replace(p, what=f"{error.title} {p.what}" if error.title else p.what) for p in error.problems
                ]
    if problems:
        raise DataError(list(dict.fromkeys(problems)), title="the data cannot be used:")
    return ReadData(groups, reads)


def learn(recipe: Recipe, data: ReadData) -> dict[str, Facts]:
    """What every task learns from its training labels. Raises DataError naming the tasks that cannot."""
    facts: dict[str, Facts] = {}
    problems: list[Problem] = []
    for tasks, read in zip(data.groups, data.reads["train"], strict=True):
        for name, task in labelled(recipe, tasks).items():
            rows = [example for example in read.examples if example.labels.get(name) is not None]
            try:
                if not rows:
                    raise LabelError("no training row has a label for it; give `data.train` rows with its label")
                facts[name] = task.learn([example.labels[name] for example in rows], rows)
            except LabelError as error:
                place = _first_place(task, name, rows, str(error))
                problems.append(Problem(what=str(error), place=place, key=f"task {name}"))
    if problems:
        raise DataError(problems, title="tasks that cannot learn from their data:")
    return facts


def with_tokenizer(recipe: Recipe, facts: Mapping[str, Facts], tokenizer: Tokenizer) -> dict[str, Facts]:
    """What the tasks learned, completed by what hangs on the encoder's tokenizer."""
    tasks = labelled(recipe, facts)
    return {name: tasks[name].with_tokenizer(found, tokenizer) for name, found in facts.items()}


def label_texts(recipe: Recipe, data: ReadData) -> Iterator[str]:
    """Text in labels that a vocabulary of the encoder should hold."""
    for tasks, read in zip(data.groups, data.reads["train"], strict=True):
        for name, task in labelled(recipe, tasks).items():
            for example in read.examples:
                if example.labels.get(name) is not None:
                    yield from task.label_texts(example.labels[name])


def _first_place(task: LabelledTask, name: str, rows: list[Example], message: str) -> Place | None:
    """Where the row stands that makes a task complain in these words; None where it is not a single row's fault."""
    for example in rows:
        try:
            task.learn([example.labels[name]], [example])
        except LabelError as error:
            if str(error) == message:
                return example.place
    return None


def window_options(
    recipe: Recipe, tasks: Iterable[str], facts: Mapping[str, Facts], *, max_length: int, stride: int
) -> WindowOptions:
    """How a group's inputs become rows. Raises BraidError where its tasks cannot share rows."""
    layout, units = common_layout({name: task_of(recipe, name).reads(facts[name]) for name in tasks})
    return WindowOptions(max_length=max_length, stride=stride, units=units, layout=layout)


def tokenised(
    recipe: Recipe,
    data: ReadData,
    facts: Mapping[str, Facts],
    split: str,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[GroupData]:
    """One split of every group as token rows, without targets; of groups that read a corpus nothing."""
    out = []
    for tasks, read in zip(data.groups, data.reads[split], strict=True):
        if not labelled(recipe, tasks):
            out.append(GroupData(tasks, [], TokenRows([]), "none"))
            continue
        options = window_options(recipe, tasks, facts, max_length=max_length, stride=stride)
        cache = Path(recipe.cache) if recipe.cache else None
        rows = prepare(read.examples, tokenizer, options, cache=cache, workers=recipe.train.workers, progress=progress)
        out.append(GroupData(tasks, read.examples, rows, options.units))
    return out


def with_targets(recipe: Recipe, groups: list[GroupData], facts: Mapping[str, Facts]) -> list[GroupData]:
    """The groups with every task's targets. Raises DataError with the misfits of all tasks."""
    problems: list[Problem] = []
    out = []
    for group in groups:
        tables = {}
        if not isinstance(group.rows, TokenRows):
            out.append(group)
            continue
        for name, task in labelled(recipe, group.tasks).items():

            def encode(label: Any, example: Example, window: Any, task: LabelledTask = task, name: str = name) -> Any:
                unfit = task.fits(example)
                if unfit is not None:
                    raise LabelError(unfit)
                return task.encode(label, example, window, facts[name])

            try:
                tables[name] = build_targets(
                    group.examples, group.rows, group.units, task=name, encode=encode, count=task.count
                )
            except DataError as error:
                problems += error.problems
        together = max((task_of(recipe, name).together for name in group.tasks), key=TOGETHER.index)
        out.append(replace(group, targets=tables, bundles=bundle(group.examples, group.rows, together)))
    if problems:
        raise DataError(problems, title=f"{len(problems)} training labels cannot be used:")
    return out


def check_gold(specs: Mapping[str, TaskSpec], groups: list[GroupData], split: str) -> SkippedLabels:
    """Whether every label of a dev or test split can be compared with predictions: better now than after an hour.
    Returns those that are left out, by task and reason.

    Raises DataError."""
    problems: list[Problem] = []
    skipped: SkippedLabels = {}
    for group in groups:
        for example in group.examples:
            units = None
            for name in group.tasks:
                label = example.labels.get(name)
                if label is None:
                    continue
                units = units_of(example, group.units) if units is None else units
                try:
                    specs[name].labelled.gold(label, example, units, specs[name].facts)
                except SkippedLabelError as error:
                    skipped.setdefault(name, {}).setdefault(error.reason, []).append(example.place)
                except LabelError as error:
                    problems.append(Problem(what=str(error), place=example.place, key=f"task {name}"))
    if problems:
        raise DataError(problems, title=f"{len(problems)} labels of the {split} split cannot be used:")
    return skipped


def skipped_labels(groups: Iterable[GroupData]) -> SkippedLabels:
    """Training labels that are left out, by task and reason."""
    return {task: table.skipped for group in groups for task, table in group.targets.items() if table.skipped}


def sample_texts(data: ReadData, *, limit: int = 200_000, seed: int = 1) -> list[str]:
    """Training texts for a vocabulary: all of them, or a seeded sample of a large set."""
    texts = [
        text
        for example in data.examples("train")
        for text in (example.text, example.pair, *(example.options or ()))
        if text
    ]
    return texts if len(texts) <= limit else random.Random(seed).sample(texts, limit)
