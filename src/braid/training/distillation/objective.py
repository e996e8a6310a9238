"""What a student's step minimises: its tasks' losses with what teachers say among the targets, and how far its hidden
states are from theirs.

Logits become targets (`braid.tasks.soft`), so that each task type learns from them as it does from rows that carry
some, however often the objective inside (that of regularisers) reads the batch. Hidden states are matched once, in the
first pass, which is the plain one. What is added for them is a sum over rows, each times what it adds to its task's
count: dividing a batch changes nothing.

Shape legend: R rows, N logit vectors of them, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from braid.config.distillation import DistillConfig
from braid.data.batch import Batch, Targets
from braid.errors import BraidError
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.soft import with_alpha, with_teacher
from braid.training.distillation.layers import Matching, layer_map
from braid.training.distillation.teachers import Taught, Teacher
from braid.training.objective import Objective, plain


@dataclass(eq=False)
class Distillation:
    """An objective around another one, *inner*. *teachers*, and the *matching* of each where hidden states are matched;
    *annealed*: tasks whose teachers count less and less; *total*: steps that are expected."""

    teachers: Sequence[Teacher] = ()
    matching: Sequence[Matching] = ()
    annealed: frozenset[str] = frozenset()
    inner: Objective = plain
    total: int = 1
    alpha: float = field(default=1.0, init=False)

    def before_step(self, step: int) -> None:
        """What is to be known of a step (from 0): how far annealing has come."""
        self.alpha = max(0.0, 1.0 - step / max(1, self.total))

    def __call__(
        self, model: BraidModel, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        """As `braid.training.objective.Objective`."""
        lessons = [teacher(batch, scope, states=bool(self.matching)) for teacher in self.teachers]
        given = replace(batch, targets=self._targets(batch.targets, lessons))
        if not self.matching:
            return self.inner(model, given, scope, present)
        with _watched(model.encoder) as first:
            losses = self.inner(model, given, scope, present)
        return self._matched(losses, lessons, first[0], scope, set(present))

    def _targets(self, targets: Mapping[str, Targets], lessons: Sequence[Taught | None]) -> dict[str, Targets]:
        out = dict(targets)
        for lesson in lessons:
            for task, (logits_NC, sizes_R) in (lesson.soft if lesson is not None else {}).items():
                out[task] = with_teacher(out[task], logits_NC, sizes_R)
        return {task: with_alpha(found, self.alpha) if task in self.annealed else found for task, found in out.items()}

    def _matched(
        self,
        losses: dict[str, Tensor],
        lessons: Sequence[Taught | None],
        states: Sequence[Tensor],
        scope: AbstractContextManager[object],
        present: set[str],
    ) -> dict[str, Tensor]:
        """The losses with how far the student's *states* [T, D] are from the teachers'."""
        out = dict(losses)
        for teacher, matching, lesson in zip(self.teachers, self.matching, lessons, strict=True):
            if lesson is not None:
                at = lesson.tokens
                ours = states if at is None else [state.index_select(0, at) for state in states]
                with scope:
                    apart_R = matching(ours, lesson.states, lesson.batch.cu_seqlens)
                for task, added in _by_task(apart_R, lesson.batch).items():
                    out[task] = out[task] + added
            if weights := [weight.sum() for weight in matching.parameters()]:
                for task in present & teacher.lessons.keys() & out.keys():  # a gradient in every process
                    out[task] = out[task] + 0.0 * torch.stack(weights).sum()
        return out


def _by_task(apart_R: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Distances of rows as summed losses: a row counts for a task as often as it adds to that task's count; one that
    several tasks have is divided among them."""
    tasks_R = torch.zeros_like(apart_R)
    for targets in batch.targets.values():
        tasks_R[targets.rows] += 1
    out = {}
    for task, targets in batch.targets.items():
        counts = 1 if targets.counts is None else targets.counts
        out[task] = (apart_R[targets.rows] / tasks_R[targets.rows] * counts).sum()
    return out


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """The states of the encoder's first forward pass, none of which is left out in it."""
    first: list[tuple[Tensor, ...]] = []

    def whole(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return None if first else given[:1]

    def keep(module: nn.Module, given: tuple[Any, ...], found: Any) -> None:
        if not first:
            first.append(found[1])

    hooks = [encoder.register_forward_pre_hook(whole), encoder.register_forward_hook(keep)]
    try:
        yield first
    finally:
        for hook in hooks:
            hook.remove()


def annealed_tasks(specs: Mapping[str, TaskSpec]) -> frozenset[str]:
    """Tasks whose teachers, of whatever kind, count less and less."""
    soft = {name: getattr(spec.task, "soft", None) for name, spec in specs.items()}
    return frozenset(name for name, options in soft.items() if getattr(options, "alpha", None) == "annealed")


def distillation(config: DistillConfig | None, teachers: Sequence[Teacher], model: BraidModel) -> Distillation | None:
    """What a recipe asks for; None where it asks for nothing. Layers that map hidden states become part of what the
    model only needs in training.

    Raises BraidError where layers do not fit each other, or nothing is learned."""
    annealed = annealed_tasks(model.specs)
    if config is None or not teachers:
        return Distillation(annealed=annealed) if annealed else None
    if config.hidden is None:
        for teacher in teachers:
            for task, lesson in teacher.lessons.items():
                if lesson is None:
                    raise BraidError(
                        f"distill.teachers.{task}: with `logits: false` there must be `distill.hidden`, or nothing is "
                        "learned"
                    )
        return Distillation(teachers, annealed=annealed)
    matching = []
    ours = model.encoder
    for teacher in teachers:
        theirs = teacher.network.encoder
        pairs = layer_map(config.hidden, ours.n_states - 1, theirs.n_states - 1)
        matching.append(Matching(config.hidden, pairs, ours.hidden_size, theirs.hidden_size))
    model.training_only["matching"] = nn.ModuleList(matching)
    return Distillation(teachers, matching, annealed)
