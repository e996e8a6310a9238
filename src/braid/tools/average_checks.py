"""Whether models can be averaged: the same tasks, labels, vocabulary and shapes. Everything that differs is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from braid.checkpoint.files import read_mapping
from braid.checkpoint.model_files import load_model, task_names
from braid.data.vocabularies import load_tokenizer
from braid.errors import BraidError, Problem, ProblemsError, shown
from braid.tools.tensor_files import read_tensor_file

TRAINING_ONLY = frozenset(
    {"dropout", "lr", "freeze", "metric", "label_smoothing", "class_weights", "loss", "gamma", "soft", "margin",
     "prediction_dropout", "temperature"}
)  # fmt: skip
"""Options of tasks that say how a model is trained, not what it computes."""

INCIDENTAL = frozenset(
    {"transformers_version", "torch_dtype", "dtype", "_name_or_path", "architectures", "hidden_dropout_prob",
     "attention_probs_dropout_prob", "classifier_dropout", "initializer_range", "gradient_checkpointing"}
)  # fmt: skip
"""Settings of config.json for which the same holds."""

SHOWN = 5
"""Tensors of one file that are named."""


def check_alike(models: Sequence[tuple[str, Path]], say: Callable[[str], None]) -> None:
    """*models*: name and run directory of each. Raises ProblemsError with all that is broken or does not fit the first;
    what was trained in another way is said."""
    problems = []
    for name, folder in models:
        try:
            load_model(folder)
        except BraidError as error:
            problems.append(Problem(what=f"{name} cannot be loaded: {error}"))
    if problems:
        raise ProblemsError(problems)
    (first, reference), *others = models
    for name, folder in others:
        problems += [Problem(what=f"{name}: {what}") for what in _differences(reference, folder, first)]
        for what in _trained_otherwise(reference, folder):
            say(f"{name}: {what}; the result has the value of {first}")
    if problems:
        title = f"{len(problems)} things do not fit {first}, so there is no mean:" if len(problems) > 1 else None
        raise ProblemsError(problems, title=title)


def _differences(first: Path, other: Path, name: str) -> Iterator[str]:
    ours, theirs = task_names(first), task_names(other)
    for task in sorted({*ours} ^ {*theirs}):
        yield f"it has no task {task!r}" if task in ours else f"it has a task {task!r}, which {name} has not"
    for task in ours:
        if task in theirs:
            yield from _task_differences(first / "tasks" / task, other / "tasks" / task, task)
    configs = [_without(read_mapping(folder / "encoder" / "config.json"), INCIDENTAL) for folder in (first, other)]
    yield from _unlike(configs[0], configs[1], "encoder")
    kinds = [read_mapping(folder / "encoder" / "braid.json").get("type") for folder in (first, other)]
    if kinds[0] != kinds[1]:
        yield f"encoder: type is {shown(kinds[1])}, not {shown(kinds[0])}"
    tokenizers = [load_tokenizer(folder / "encoder") for folder in (first, other)]
    if tokenizers[0].sha256 != tokenizers[1].sha256:
        sizes = [tokenizer.vocab_size for tokenizer in tokenizers]
        yield (
            f"its vocabulary is another one: {sizes[1]:,} tokens, not {sizes[0]:,}"
            if sizes[0] != sizes[1]
            else ("its vocabulary holds other tokens")
        )
    yield from _tensor_differences(first / "encoder" / "model.safetensors", other / "encoder" / "model.safetensors")


def _task_differences(first: Path, other: Path, task: str) -> Iterator[str]:
    ours, theirs = read_mapping(first / "task.json"), read_mapping(other / "task.json")
    if ours["type"] != theirs["type"]:
        yield f"task {task!r} is of type {theirs['type']}, not {ours['type']}"
        return
    yield from _unlike(_without(ours["options"], TRAINING_ONLY), _without(theirs["options"], TRAINING_ONLY), task)
    known = {key: value for key, value in ours["facts"].items() if key != "weights"}
    found = {key: value for key, value in theirs["facts"].items() if key != "weights"}
    yield from _unlike(known, found, f"task {task!r}, what it learned of its data")
    if known == found:
        yield from _tensor_differences(first / "head.safetensors", other / "head.safetensors", f"task {task!r}: ")


def _tensor_differences(first: Path, other: Path, where: str = "encoder: ") -> Iterator[str]:
    ours, theirs = read_tensor_file(first).tensors, read_tensor_file(other).tensors
    lines = [f"it has no {name}" for name in ours if name not in theirs]
    lines += [f"it has {name}, which the first has not" for name in theirs if name not in ours]
    lines += [
        f"{name} is {' x '.join(map(str, theirs[name].shape))}, not {' x '.join(map(str, info.shape))}"
        for name, info in ours.items()
        if name in theirs and theirs[name].shape != info.shape
    ]
    yield from (where + line for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"{where}and {len(lines) - SHOWN} more tensors that do not fit"


def _trained_otherwise(first: Path, other: Path) -> Iterator[str]:
    for task in sorted({*task_names(first)} & {*task_names(other)}):
        ours, theirs = (read_mapping(folder / "tasks" / task / "task.json")["options"] for folder in (first, other))
        for key in sorted(TRAINING_ONLY & ours.keys() & theirs.keys() - {"lr", "freeze", "dropout"}):
            if ours[key] != theirs[key]:
                yield f"{task}.{key} was {shown(theirs[key])}, not {shown(ours[key])}"


def _unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> Iterator[str]:
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            yield f"{where}: {key} is {shown(theirs.get(key))}, not {shown(ours.get(key))}"


def _without(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in names}
