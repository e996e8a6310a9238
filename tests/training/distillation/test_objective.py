"""What a student minimises: the same whatever way the teacher's word comes and however a batch is divided."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tiny
from braid.config.distillation import DistillConfig
from braid.data.batch import Batch
from braid.data.changes import Draw
from braid.data.groups import make_batch
from braid.data.packing import select_rows
from braid.data.plan import split_step
from braid.model.corpora import text_facts
from braid.model.network import BraidModel, TaskSpec
from braid.nn.losses import soft_loss
from braid.tasks.mlm import Mlm
from braid.tasks.soft import by_label
from braid.training.distillation.objective import Distillation, annealed_tasks, distillation
from braid.training.distillation.teachers import Lesson, Teacher
from braid.training.loss import count, loss_scales
from training.test_exactness import mixed_data

WHOLE = [(group, row) for group in range(3) for row in range(24)]


@pytest.fixture(scope="module")
def mixed() -> Any:
    return mixed_data()


def model_of(mixed: Any, seed: int, soft: Any = None, **encoder: Any) -> BraidModel:
    _, tokenizer, specs = mixed
    torch.manual_seed(seed)
    if soft is not None:
        specs = {name: replace(s, task=s.task.model_copy(update={"soft": soft(s.task)})) for name, s in specs.items()}
    return BraidModel(tiny.encoder_of(tokenizer, **encoder), specs)


def alpha_of(alpha: Any) -> Any:
    return lambda task: task.soft.model_copy(update={"alpha": alpha})


def teacher_of(mixed: Any, tasks: Iterable[str], seed: int = 7, **encoder: Any) -> Teacher:
    """A teacher of some of our tasks, under our names."""
    network = model_of(mixed, seed, **{"hidden_size": 48, "layers": 4, **encoder}).eval()
    specs = mixed[2]
    lessons = {name: Lesson(name, specs[name].task.translation(specs[name].facts, specs[name].facts)) for name in tasks}
    return Teacher("teacher", Path("teacher"), network, lessons, {})


def made(mixed: Any, model: BraidModel, teachers: list[Teacher], **config: Any) -> Distillation:
    names = {name: "teacher" for teacher in teachers for name in teacher.lessons}
    torch.manual_seed(3)
    found = distillation(DistillConfig(teachers=names, **config), teachers, model)
    assert found is not None
    return found


def gradients(mixed: Any, model: BraidModel, objective: Any, parts: int) -> dict[str, Tensor]:
    groups = mixed[0]
    model.zero_grad(set_to_none=True)
    lengths = tuple(group.rows.lengths for group in groups)
    batches = [make_batch(groups, part) for part in split_step(WHOLE, lengths, parts)]
    scales = loss_scales(count(batches, list(model.specs)), dict.fromkeys(model.specs, 1.0), "row")
    for batch in batches:
        losses = objective(model, batch, nullcontext(), ())
        torch.stack([losses[name] * scales[name] for name in losses]).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("parts", [2, 5])
def test_dividing_a_batch_changes_no_gradient(mixed: Any, parts: int) -> None:
    model = model_of(mixed, 1)
    teachers = [teacher_of(mixed, ["label", "score"]), teacher_of(mixed, ["tags"], seed=8, hidden_size=32)]
    objective = made(mixed, model, teachers, hidden="uniform")
    whole, divided = (gradients(mixed, model, objective, n) for n in (1, parts))
    assert whole.keys() == divided.keys()
    assert any(name.startswith("training_only") for name in whole)
    for name in whole:
        torch.testing.assert_close(whole[name], divided[name], atol=1e-6, rtol=1e-4)


def test_a_teacher_in_memory_says_what_rows_with_its_logits_say(mixed: Any) -> None:
    """Alpha 0.5, temperature 2, KL over softened labels, and squared errors, all worked out beside."""
    model, teacher = model_of(mixed, 1), teacher_of(mixed, ["label", "tags", "score"])
    batch = make_batch(mixed[0], WHOLE)
    found = made(mixed, model, [teacher])(model, batch, nullcontext())
    ours, theirs = model.passed(batch, nullcontext()), teacher.network.passed(batch, nullcontext())
    for task in ("label", "tags"):
        soft = soft_loss(ours.logits[task], theirs.logits[task], kind="kl", temperature=2.0).sum()
        torch.testing.assert_close(found[task], 0.5 * ours.losses[task] + 0.5 * soft)
    soft = F.mse_loss(ours.logits["score"], theirs.logits["score"], reduction="sum")
    torch.testing.assert_close(found["score"], 0.5 * ours.losses["score"] + 0.5 * soft)


def test_a_teacher_reads_only_the_rows_of_its_tasks(mixed: Any) -> None:
    teacher, batch = teacher_of(mixed, ["tags"]), make_batch(mixed[0], WHOLE)
    said, all_said = (
        t(batch, nullcontext(), states=True) for t in (teacher, teacher_of(mixed, ["label", "tags", "score"]))
    )
    assert said is not None
    assert all_said is not None
    assert said.batch.n_rows == len(batch.targets["tags"].rows) < batch.n_rows
    torch.testing.assert_close(said.soft["tags"][0], all_said.soft["tags"][0], atol=1e-5, rtol=1e-4)
    alone = make_batch(mixed[0], [(1, row) for row in range(24) if mixed[0][1].targets["tags"].has[row]])
    assert said.tokens is not None
    assert sorted(batch.ids[said.tokens].tolist()) == sorted(alone.ids.tolist())
    assert teacher(make_batch(mixed[0], [(0, 1)]), nullcontext(), states=True) is None


def test_chosen_rows_of_a_batch_are_read_as_they_were(mixed: Any) -> None:
    model, batch = model_of(mixed, 1).eval(), make_batch(mixed[0], WHOLE)
    rows = [0, 3, 17, 40]
    some = select_rows(batch, rows)
    whole, part = (model.encoded(one).last for one in (batch, some))
    slices = list(batch)
    torch.testing.assert_close(part, torch.cat([whole[slices[row]] for row in rows]), atol=1e-5, rtol=1e-4)
    assert some.origins == tuple(batch.origins[row] for row in rows)


@pytest.mark.parametrize(("step", "alpha"), [(0, 1.0), (25, 0.75), (100, 0.0)])
def test_annealing_goes_in_a_line_from_the_teacher_to_the_label(mixed: Any, step: int, alpha: float) -> None:
    annealed, fixed = model_of(mixed, 1, alpha_of("annealed")), model_of(mixed, 1, alpha_of(alpha))
    teacher, batch = teacher_of(mixed, ["label", "tags", "score"]), make_batch(mixed[0], WHOLE)
    assert annealed_tasks(annealed.specs) == {"label", "tags", "score"}
    objective = made(mixed, annealed, [teacher])
    objective.total = 100
    objective.before_step(step)
    found = objective(annealed, batch, nullcontext())
    expected = made(mixed, fixed, [teacher])(fixed, batch, nullcontext())
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])


def test_what_hidden_states_add_is_the_mean_distance_of_rows_whatever_a_row_counts(mixed: Any) -> None:
    model, teacher = model_of(mixed, 1), teacher_of(mixed, ["tags"], hidden_size=32)
    batch = make_batch(mixed[0], [(1, row) for row in range(4)])
    plainly = made(mixed, model, [teacher])(model, batch, nullcontext())["tags"]
    matched = made(mixed, model, [teacher], hidden="last")(model, batch, nullcontext())["tags"]
    ours, theirs = model.encoded(batch).layers, teacher.network.encoded(batch).layers
    rows, targets = list(batch), batch.targets["tags"]
    counts = targets.cu["tags"].diff()
    apart = [
        sum(F.mse_loss(ours[m][rows[row]], theirs[g][rows[row]]) for m, g in ((0, 0), (1, 3), (2, 4)))
        for row in targets.rows.tolist()
    ]
    torch.testing.assert_close(matched - plainly, (torch.stack(apart) * counts).sum(), atol=1e-3, rtol=1e-4)


def test_hidden_states_are_matched_once_however_often_the_objective_inside_reads(mixed: Any) -> None:
    model, teacher = model_of(mixed, 1), teacher_of(mixed, ["label"])
    batch = make_batch(mixed[0], WHOLE)

    def twice(model: BraidModel, given: Batch, scope: Any, present: Iterable[str] = ()) -> dict[str, Tensor]:
        first, second = model.losses(given, scope, present), model.losses(given, scope)
        return {name: (first[name] + second[name]) / 2 for name in first}

    once = made(mixed, model, [teacher], hidden="last")(model, batch, nullcontext())
    again = replace(made(mixed, model, [teacher], hidden="last"), inner=twice)(model, batch, nullcontext())
    for task in once:
        torch.testing.assert_close(once[task], again[task])


def test_labels_are_matched_by_name() -> None:
    translate = by_label({"labels": ["b", "c", "a"]}, {"labels": ["a", "b", "c"]})
    assert translate(torch.tensor([[1.0, 2.0, 0.0]])).tolist() == [[0.0, 1.0, 2.0]]


def test_numbers_are_matched_in_the_units_of_the_labels() -> None:
    translate = tiny.task_of("regression").translation({"mean": 10.0, "std": 4.0}, {"mean": 2.0, "std": 2.0})
    assert translate(torch.tensor([[0.5]])).tolist() == [[5.0]]  # 12 in both units


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_masked_tokens_learn_the_teachers_whole_vocabulary(kind: str, tmp_path: Path) -> None:
    group, tokenizer, specs, make = tiny.text_group("mlm", "mlm", tmp_path)
    task, wide = specs["mlm"].task, tiny.encoder_of(tokenizer, hidden_size=48)
    soft = task.soft.model_copy(update={"alpha": 0.25, "temperature": 3.0, "loss": kind})  # type: ignore[attr-defined]
    task = task.model_copy(update={"soft": soft})
    assert isinstance(task, Mlm)
    ours = TaskSpec(task, specs["mlm"].facts)
    theirs = TaskSpec(task, task.learn_text(text_facts(tokenizer, wide)))
    student, network = BraidModel(make(), {"mlm": ours}), BraidModel(wide, {"mlm": theirs})
    network.eval()
    lesson = Lesson("mlm", task.translation(theirs.facts, ours.facts))
    batch = make_batch([group], [(0, row) for row in range(len(group))], draw=Draw(1, 0, 0))
    objective = Distillation([Teacher("t", Path("t"), network, {"mlm": lesson}, {})])
    found = objective(student, batch, nullcontext())["mlm"]

    targets = batch.targets["mlm"]
    starts = batch.cu_seqlens[targets.rows].long().repeat_interleave(targets.cu["places"].diff())
    at, labels = targets.values["places"] + starts, targets.values["labels"]
    one, other = (m.head("mlm").logits(m.encoded(batch), at) for m in (student, network))  # type: ignore[operator]
    expected = 0.75 * F.cross_entropy(one, labels, reduction="sum")
    expected = expected + 0.25 * soft_loss(one, other.detach(), kind=kind, temperature=3.0).sum()  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    weights = list(student.parameters())
    first, second = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in (found, expected))
    for found_weight, expected_weight in zip(first, second, strict=True):
        torch.testing.assert_close(found_weight, expected_weight, rtol=1e-3, atol=1e-4)
