"""Which evaluation was best: one figure from the metrics of several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from braid.errors import Problem, ProblemsError, did_you_mean
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


def metrics_of(spec: TaskSpec) -> tuple[str, ...]:
    """Every metric that a task may have; nothing where its meter cannot say so before it has seen a row."""
    try:
        meter = spec.task.meter(spec.facts)
        return (*meter.compute(), *meter.sometimes)
    except (ArithmeticError, LookupError, ValueError):  # of a type that is not ours
        return ()


def check_metrics(specs: Mapping[str, TaskSpec], by: Sequence[str], *, where: str = "train.best") -> None:
    """Raises ProblemsError naming all metrics that tasks are asked for and have not. *by*: as in `best_metrics`;
    *where*: what it is called."""
    asked = [(f"tasks.{name}.metric", name, spec.task.metric) for name, spec in specs.items() if spec.task.metric]
    if named := [entry for entry in by if entry not in specs]:
        asked += [(where, *pair) for pair in best_metrics(specs, named).items()]
    problems = []
    for key, name, metric in asked:
        known = metrics_of(specs[name])
        if known and metric not in known:
            what = f"task {name!r} has no metric {metric!r}: {did_you_mean(metric, known)}"
            problems.append(Problem(what=what, key=key))
    if problems:
        raise ProblemsError(problems)


def score(scores: Scores, wanted: Mapping[str, str], specs: Mapping[str, TaskSpec]) -> float | None:
    """Mean of the wanted metrics (those where lower is better count negative); None where none was measured."""
    values = []
    for task, metric in wanted.items():
        if task in scores and metric in scores[task]:
            sign = -1.0 if metric in specs[task].task.lower_is_better else 1.0
            values.append(sign * scores[task][metric])
    return sum(values) / len(values) if values else None
