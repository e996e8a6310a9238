"""Teachers and regularisers in one run: what a teacher says counts once in every pass that a regulariser makes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from braid.data.batch import Batch
from braid.data.groups import make_batch
from braid.model.network import BraidModel
from braid.training.distillation.objective import Distillation
from braid.training.trainer import Trainer
from training.distillation.test_objective import WHOLE, alpha_of, made, model_of, teacher_of
from training.test_exactness import gradients, mixed_data, trainer_of

TASKS = ["label", "tags", "score"]
HARMLESS: dict[str, tuple[dict[str, Any], float]] = {
    "rdrop": ({"alpha": 3.0}, 1.0),
    "fgm": ({"epsilon": 1e-6, "weight": 0.5}, 1.5),
    "pgd": ({"epsilon": 1e-6, "step_size": 1e-6, "weight": 2.0}, 3.0),
    "smart": ({"epsilon": 1e-6, "step_size": 1e-6, "noise": 1e-7}, 1.0),
}
"""Options with which a regulariser's further passes are the plain one (the model has no dropout), and how many times
the step's loss is then counted."""


@pytest.fixture(scope="module")
def mixed() -> Any:
    return mixed_data()


def trainer(
    mixed: Any, run: Path, regularisers: list[Any], alpha: Any = 0.5, hidden: Any = None, **more: Any
) -> Trainer:
    groups, tokenizer, _ = mixed
    specs = model_of(mixed, 1, alpha_of(alpha)).specs

    def taught(model: BraidModel) -> Distillation:
        return made(mixed, model, [teacher_of(mixed, TASKS)], **({} if hidden is None else {"hidden": hidden}))

    return trainer_of((groups, tokenizer, specs), run, regularisers=regularisers, distilled_of=taught, **more)


def losses(trainer: Trainer, batch: Batch, step: int = 0) -> dict[str, Tensor]:
    assert trainer.distilled is not None
    trainer.distilled.before_step(step)
    scales = trainer.regularised.scales = dict.fromkeys(TASKS, 0.01)
    return trainer.engine.losses(batch, nullcontext(), scales)


@pytest.mark.parametrize("name", HARMLESS)
def test_the_teacher_is_in_every_pass_and_hidden_states_are_matched_once(mixed: Any, tmp_path: Path, name: str) -> None:
    options, times = HARMLESS[name]
    batch = make_batch(mixed[0], WHOLE)
    plain, matched = (losses(trainer(mixed, tmp_path, [], hidden=hidden), batch) for hidden in (None, "uniform"))
    found = losses(trainer(mixed, tmp_path, [{"type": name, **options}], hidden="uniform"), batch)
    for task in TASKS:
        hidden = matched[task] - plain[task]
        assert hidden.item() > 1.0
        torch.testing.assert_close(found[task], times * plain[task] + hidden, rtol=1e-3, atol=1e-2)
    torch.stack(list(found.values())).sum().backward()


@pytest.mark.parametrize("regulariser", [*HARMLESS, {"type": "multi_sample_dropout", "dropout": 0.3}], ids=str)
def test_where_the_teacher_alone_counts_labels_change_nothing(mixed: Any, tmp_path: Path, regulariser: Any) -> None:
    batch = make_batch(mixed[0], WHOLE)
    labels = batch.targets["label"]
    wrong = replace(labels, values={**labels.values, "label": labels.values["label"].flip(0)})
    assert not torch.equal(wrong.values["label"], labels.values["label"])
    found = []
    for targets in (labels, wrong):
        taught = trainer(mixed, tmp_path, [regulariser], alpha=1.0, encoder={"dropout": 0.1})
        torch.manual_seed(5)
        found.append(losses(taught, replace(batch, targets={**batch.targets, "label": targets})))
    for task in TASKS:
        torch.testing.assert_close(found[0][task], found[1][task])


@pytest.mark.parametrize("name", HARMLESS)
def test_at_the_end_of_annealing_the_teacher_is_in_no_pass(mixed: Any, tmp_path: Path, name: str) -> None:
    options, times = HARMLESS[name]
    batch = make_batch(mixed[0], WHOLE)
    taught = trainer(mixed, tmp_path, [{"type": name, **options}], alpha="annealed")
    found = losses(taught, batch, step=taught.total)
    alone = taught.model.losses(batch, nullcontext())
    for task in TASKS:
        torch.testing.assert_close(found[task], times * alone[task], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("names", [["fgm", "rdrop"], ["pgd"]], ids=str)
def test_the_gradient_does_not_depend_on_how_a_batch_is_divided(mixed: Any, tmp_path: Path, names: list[str]) -> None:
    both = trainer(mixed, tmp_path, names, hidden="uniform")
    whole, divided = gradients(both, 1), gradients(both, 5)
    assert whole.keys() == divided.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], divided[name], atol=2e-6, rtol=1e-4)
