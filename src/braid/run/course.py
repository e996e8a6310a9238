"""What fixes the course of a run: recipe and data. A run is resumed only where these are what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import braid
from braid.config.recipe import Recipe
from braid.data.corpus.rows import CorpusRows
from braid.data.groups import GroupData
from braid.errors import RunDirectoryError, shown
from braid.run.dataset import ReadData
from braid.training.distillation.teachers import Teacher

HARMLESS = {
    "save_every", "keep", "log_every", "threads", "workers", "device", "eval_batch_tokens", "max_minutes",
    "max_bad_steps", "parallel", "accumulate", "activation_checkpointing", "patience",
}  # fmt: skip
"""Training options that may change between a run and its resumption: how and where it is computed, not what."""

SHOWN = 20
"""Differences that a message lists."""


def course(
    recipe: Recipe, data: ReadData, groups: Sequence[GroupData], teachers: Sequence[Teacher] = ()
) -> dict[str, Any]:
    """Everything that fixes the course of a run, by dotted name. *groups*: the training data. Teachers count by what
    their files hold, wherever these are."""
    options = recipe.model_dump(mode="json", exclude={"out", "name", "cache"})
    options["train"] = {key: value for key, value in options["train"].items() if key not in HARMLESS}
    for task in options["tasks"].values():
        task.pop("data", None)
    for teacher in (options["distill"] or {}).get("teachers", {}).values():
        teacher.pop("run")
    taught = {" & ".join(teacher.lessons): teacher.files for teacher in teachers}
    corpora = {
        " & ".join(group.tasks): [len(group), int(group.rows.lengths.sum())]
        for group in groups
        if isinstance(group.rows, CorpusRows)
    }
    rows = {" & ".join(tasks): digest for tasks, digest in zip(data.groups, data.sha256s(), strict=True)}
    found = {**options, "training rows": rows, "corpus (rows, tokens)": corpora, "version of braid": braid.__version__}
    if taught:
        found["teachers"] = taught
    return dict(flat(found, ""))


def check_course(state: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises RunDirectoryError that says what is not as it was."""
    lines = differences(before, now)
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise RunDirectoryError(
            f"{state} belongs to another recipe or other data than now; the run would not go on as it began:\n    "
            + "\n    ".join(lines[:SHOWN] + more)
            + "\nPut these back, or use --force to go on all the same."
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each name whose value is not the same."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) == now.get(name):
            continue
        if name.startswith("training rows"):
            lines.append(f"{name}: the rows or their labels are others than they were")
        elif name not in now:
            lines.append(f"{name}: was {shown(before[name])}, is not there now")
        elif name not in before:
            lines.append(f"{name}: was not there, is {shown(now[name])}")
        else:
            lines.append(f"{name}: was {shown(before[name])}, is {shown(now[name])}")
    return lines


class WatchedFiles:
    """Files as they were when the run began."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._known = {path: _stamp(path) for path in paths}

    def changed(self) -> list[str]:
        """Those that are no longer the same; each is named once."""
        found = [path for path, stamp in self._known.items() if _stamp(path) != stamp]
        for path in found:
            del self._known[path]
        return found


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def flat(value: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    """Every value inside mappings by its dotted name."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from flat(part, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
