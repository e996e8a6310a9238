"""A run as its report sees it: what its files say, and what its model says of the rows of one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braid.errors import BraidError
from braid.report.record import Record, read_record

if TYPE_CHECKING:
    from braid.model.evaluate import Judged
    from braid.model.network import TaskSpec

SPLITS = ("dev", "test")
Told = Callable[[str, int, int | None], None]
"""Hears what is done, how much of it, and of how much."""


def silent(doing: str, done: int, total: int | None) -> None:
    """Nothing is shown."""


@dataclass(frozen=True, eq=False)
class View:
    """*title*: what the page calls the run; *split*: whose rows were judged, by task; *missing*: why none were."""

    record: Record
    title: str
    split: str = ""
    judged: Mapping[str, Judged] = field(default_factory=dict)
    specs: Mapping[str, TaskSpec] = field(default_factory=dict)
    missing: str = ""
    changed: tuple[str, ...] = ()


def view_of(
    directory: Path,
    *,
    title: str | None = None,
    split: str | None = None,
    told: Told = silent,
) -> View:
    """Read a run and let its model judge the rows of a split (None: dev, else test). What cannot be done is said in
    `missing`, and no error; only a folder that is no run directory raises RunDirectoryError."""
    record = read_record(directory)
    title = title or record.name
    if not record.has_model:
        return View(record, title, missing="this run has no weights yet: training did not come to its end")
    if not record.recipe:
        return View(record, title, missing="this run has no recipe.yaml that names its data")
    reasons = []
    for name in (split,) if split else SPLITS:
        try:
            return _judged(record, title, name, told)
        except BraidError as error:
            reasons.append(str(error).split("\n", 1)[0] if split is None else str(error))
    return View(record, title, missing="; ".join(dict.fromkeys(reasons)))


def _judged(record: Record, title: str, split: str, told: Told) -> View:
    from braid.model.evaluate import judge
    from braid.predict.model import Model

    model = Model.load(record.directory)
    groups = model.groups(split)
    total, done = sum(len(group) for group in groups), 0

    def progress(rows: int) -> None:
        nonlocal done
        done += rows
        told(f"{title}: judging {split} rows", done, total)

    options: dict[str, Any] = {"batch_tokens": model.batch_tokens, "device": model.device}
    found = judge(model.network, groups, precision=model.precision, progress=progress, **options)
    changed = tuple(model.changed_files(split)) if record.environment else ()
    return View(record, title, split, found, model.tasks, changed=changed)
