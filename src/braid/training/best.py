"""Which evaluation was best: one figure from the metrics of several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from braid.model.evaluate import Scores
from braid.model.network import TaskSpec


def best_metrics(specs: Mapping[str, TaskSpec], by: Sequence[str]) -> dict[str, str]:
    """Task -> metric that "best" looks at. *by*: `task` or `task.metric`; empty: every task by its own metric."""
    if not by:
        return {name: spec.task.best(spec.facts) for name, spec in specs.items()}
    out = {}
    for entry in by:
        if entry in specs:
            out[entry] = specs[entry].task.best(specs[entry].facts)
        else:
            task, _, metric = entry.rpartition(".")
            out[task] = metric
    return out


def score(scores: Scores, wanted: Mapping[str, str], specs: Mapping[str, TaskSpec]) -> float | None:
    """Mean of the wanted metrics (those where lower is better count negative); None where none was measured."""
    values = []
    for task, metric in wanted.items():
        if task in scores and metric in scores[task]:
            sign = -1.0 if metric in specs[task].task.lower_is_better else 1.0
            values.append(sign * scores[task][metric])
    return sum(values) / len(values) if values else None
