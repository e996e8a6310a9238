"""Sources of a group's tasks -> the examples of one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from braid.config.families import DataConfig
from braid.data.example import Example
from braid.data.examples import read_split
from braid.data.join import join


@dataclass(frozen=True)
class GroupRead:
    """*examples* of a group in one split, tasks joined on equal input; *skipped*: reason -> rows left out, by task."""

    examples: list[Example]
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)


def read_group(
    data: Mapping[str, DataConfig], split: str, *, seed: int, defaults: Mapping[str, Any] | None = None
) -> GroupRead:
    """Read one split of all tasks of a group (task -> its files). *defaults*: task -> the label of its rows that have
    none. Raises DataError."""
    per_task: dict[str, list[Example]] = {}
    skipped: dict[str, dict[str, int]] = {}
    for task, config in data.items():
        if not getattr(config, split):
            per_task[task] = []
            continue
        rows = read_split(config, split, task=task, seed=seed)
        default = (defaults or {}).get(task)
        per_task[task] = rows.examples if default is None else [_labelled(row, task, default) for row in rows.examples]
        if rows.skipped:
            skipped[task] = dict(rows.skipped)
    if len(per_task) == 1:
        return GroupRead(next(iter(per_task.values())), skipped)
    return GroupRead(join(per_task).examples, skipped)


def _labelled(example: Example, task: str, default: Any) -> Example:
    return example if task in example.labels else replace(example, labels={**example.labels, task: default})
