"""The numbers can be trusted: gradients do not depend on how a batch is divided, resuming changes nothing."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from braid.balancing.sum import Sum
from braid.checkpoint.state import newest_state, read_progress
from braid.config.training import FreezeConfig, TrainConfig
from braid.data.example import Example
from braid.data.groups import make_batch
from braid.data.plan import Plan, split_step
from braid.data.samplers.proportional import Proportional
from braid.errors import Interrupted
from braid.model.network import BraidModel
from braid.optim.groups import apply_freeze, named_parameters
from braid.training.loss import count, loss_scales
from braid.training.trainer import Trainer

KINDS = {"label": "classification", "tags": "tagging", "score": "regression"}


class Silent:
    def start(self) -> None: ...
    def step(self, info: Any) -> None: ...
    def evaluated(self, step: int, scores: Any, best: bool) -> None: ...
    def message(self, text: str) -> None: ...
    def stop(self) -> None: ...


@pytest.fixture(scope="module")
def mixed() -> tuple[Any, Any, Any]:
    return mixed_data()


def mixed_data() -> tuple[Any, Any, Any]:
    """Three groups of three task types, some labels missing, with a tokenizer and what the tasks learned."""
    examples = {}
    for name, kind in KINDS.items():
        rows = [tiny.example_of(row, name) for row in tiny.specimens(kind, 24)]
        examples[name] = [Example(e.text, e.pair, e.words, {} if k % 5 == 4 else e.labels) for k, e in enumerate(rows)]
    tokenizer = tiny.tokenizer_of([e for rows in examples.values() for e in rows])
    specs = tiny.specs_of({name: tiny.task_of(kind) for name, kind in KINDS.items()}, examples)
    groups = [tiny.group_of({name: specs[name]}, examples[name], tokenizer) for name in KINDS]
    return groups, tokenizer, specs


def trainer_of(mixed: tuple[Any, Any, Any], run: Path, **config: Any) -> Trainer:
    groups, tokenizer, specs = mixed
    more = {"world": config.pop("world")} if "world" in config else {}
    distilled_of = config.pop("distilled_of", None)
    torch.manual_seed(0)
    model = BraidModel(tiny.encoder_of(tokenizer, **config.pop("encoder", {})), specs)
    if distilled_of is not None:
        more["distilled"] = distilled_of(model)
    train = TrainConfig(**{"batch_rows": 16, "lr": 1e-3, "precision": "fp32", **config})
    plan = Plan(
        lengths=tuple(group.rows.lengths for group in groups),
        rates=(1.0,) * len(groups),
        sampler=Proportional(),
        epochs=train.epochs,
        seed=1,
        batch_tokens=train.tokens_per_batch,
        batch_rows=train.batch_rows,
        batches=train.batches,
    )
    run.mkdir(parents=True, exist_ok=True)
    return Trainer(
        model=model,
        plan=plan,
        total=plan.expected(train.max_steps),
        groups=groups,
        dev=groups,
        config=train,
        weights={"label": 1.0, "tags": 0.5, "score": 2.0},
        balancer=Sum(),
        display=Silent(),
        run=run,
        device=torch.device("cpu"),
        precision="fp32",
        **more,
    )


def gradients(trainer: Trainer, parts: int) -> dict[str, torch.Tensor]:
    step = [(g, r) for g in range(3) for r in range(0, 24, 1)][:64]
    lengths = trainer.plan.lengths
    trainer.model.zero_grad(set_to_none=True)
    trainer.backward([make_batch(trainer.groups, part) for part in split_step(step, lengths, parts)])
    return {
        name: parameter.grad.clone()
        for name, parameter in named_parameters(trainer.model.encoder, trainer.heads)
        if parameter.grad is not None
    }


@pytest.mark.parametrize("normalise", ["row", "task"])
@pytest.mark.parametrize("parts", [2, 4, 7])
def test_one_batch_of_64_equals_micro_batches(mixed: Any, tmp_path: Path, parts: int, normalise: str) -> None:
    trainer = trainer_of(mixed, tmp_path, normalise=normalise)
    whole, divided = gradients(trainer, 1), gradients(trainer, parts)
    assert whole.keys() == divided.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], divided[name], atol=1e-6, rtol=1e-5)


def test_the_loss_is_weight_times_mean_times_share_of_rows(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path)
    step = [(0, r) for r in range(10)] + [(1, r) for r in range(6)]
    batch = make_batch(trainer.groups, step)
    scales = loss_scales(count([batch], list(trainer.heads)), trainer.weights, "row")
    with torch.no_grad():
        losses = trainer.model.losses(batch, nullcontext())
    labelled = sum(k % 5 != 4 for k in range(10))
    assert len(batch.targets["label"].rows) == labelled
    assert scales["label"] == pytest.approx(1.0 * (labelled / 16) / labelled)
    words = batch.targets["tags"].count
    assert words == len(batch.targets["tags"].values["tags"])
    assert scales["tags"] == pytest.approx(0.5 * (len(batch.targets["tags"].rows) / 16) / words)
    assert set(losses) == {"label", "tags"}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def stopped_and_resumed(mixed: Any, run: Path, stop_at: int, **options: Any) -> tuple[Trainer, Trainer]:
    """A trainer that a signal stopped after a step, and one that has its state, in a process that drew other numbers
    meanwhile."""

    class Stopper(Silent):
        def step(self, info: Any) -> None:
            if info.step == stop_at:
                first.stopping.number = 15

    first = trainer_of(mixed, run, **options)
    first.display = Stopper()
    with pytest.raises(Interrupted):
        first.train()
    second = trainer_of(mixed, run, **options)
    torch.manual_seed(99)
    state = newest_state(run)
    assert state is not None
    second.resume(state, read_progress(state))
    return first, second


@pytest.mark.parametrize("stop_at", [1, 4, 7, 13])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(mixed: Any, tmp_path: Path, stop_at: int) -> None:
    """Mid-epoch, at the end of an epoch, with dropout and accumulation; the stop comes by a signal."""
    options = {"epochs": 3, "accumulate": 2, "encoder": {"dropout": 0.1}}
    straight = trainer_of(mixed, tmp_path / "a", **options)
    straight.train()

    _, second = stopped_and_resumed(mixed, tmp_path / "b", stop_at, **options)
    result = second.train()
    assert result.steps == straight.progress.step
    assert second.progress.rows == straight.progress.rows
    expected, found = weights(straight), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_saving_does_not_change_the_course(mixed: Any, tmp_path: Path) -> None:
    plain = trainer_of(mixed, tmp_path / "a", epochs=2, encoder={"dropout": 0.1})
    saving = trainer_of(mixed, tmp_path / "b", epochs=2, encoder={"dropout": 0.1}, save_every=2)
    for trainer in (plain, saving):
        torch.manual_seed(5)
        trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(saving).values(), strict=True))
    assert len(list((tmp_path / "b" / "state").glob("step-*"))) == 2, "the newest two are kept"


def test_the_best_weights_are_those_of_the_best_evaluation(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, epochs=4, lr=5e-3, best=["label", "score.mse"])
    result = trainer.train()
    assert result.best is not None
    scores = {step: (found["label"]["accuracy"] - found["score"]["mse"]) / 2 for step, found in result.history}
    assert result.best["step"] == max(scores, key=lambda step: scores[step])
    assert result.best["score"] == pytest.approx(max(scores.values()))
    best = load_file(tmp_path / "state" / "best" / "weights.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in trainer.model.state_dict().items())


def test_early_stopping(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, epochs=30, lr=1e-9, patience=2, best=["label"])
    result = trainer.train()
    assert len(result.history) == 3


def test_frozen_parts_stand_still_until_they_are_freed(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, epochs=1, freeze={"layers": 1, "until": 3}, max_steps=3)
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith(("encoder.embeddings", "encoder.layers.0")) for name in moved)
    assert any(name.startswith("encoder.layers.1") for name in moved)
    apply_freeze(trainer.model.encoder, trainer.heads, FreezeConfig(layers=1, until=3), 3)
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


def test_optimiser_groups(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, lr=1e-3, head_lr=5e-3, layer_decay=0.5, weight_decay=0.1)
    found = {
        name: (group["base_lr"], group["weight_decay"])
        for group in trainer.optimizer.param_groups
        for name in group["names"]
    }
    assert found["encoder.layers.1.qkv.weight"] == (1e-3, 0.1)
    assert found["encoder.layers.0.qkv.weight"] == (5e-4, 0.1)
    assert found["encoder.embeddings.word.weight"] == (2.5e-4, 0.1)
    assert found["encoder.layers.1.output_norm.weight"] == (1e-3, 0.0)
    assert found["encoder.layers.1.qkv.bias"] == (1e-3, 0.0)
    assert {rate for name, (rate, _) in found.items() if name.startswith("tasks.")} == {5e-3}
    assert len(found) == len(list(trainer.model.parameters()))


def test_a_step_without_a_finite_gradient_is_left_out_and_named(mixed: Any, tmp_path: Path) -> None:
    from braid.errors import BraidError

    trainer = trainer_of(mixed, tmp_path, epochs=9)
    with torch.no_grad():
        trainer.model.encoder.embeddings.norm.weight.fill_(float("nan"))
    with pytest.raises(BraidError, match=r"10 steps in a row had no finite gradient"):
        trainer.train()


def test_learning_rates_warm_up_and_fall() -> None:
    from braid.optim.build import rate

    linear = TrainConfig(warmup=0.2, schedule="linear")
    assert [round(rate(linear, 10, k), 3) for k in (0, 1, 2, 6, 10)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    cosine = TrainConfig(warmup=2, schedule="cosine")
    assert [round(rate(cosine, 10, k), 3) for k in (1, 2, 6, 10)] == [0.5, 1.0, 0.5, 0.0]
    constant = TrainConfig(warmup=0, schedule="constant")
    assert {rate(constant, 10, k) for k in range(11)} == {1.0}


def test_adamax_trains(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, epochs=2, optimizer="adamax", lr=5e-3)
    result = trainer.train()
    assert np.isfinite([parameter.sum().item() for parameter in trainer.model.parameters()]).all()
    assert result.history[-1][1]["label"]["accuracy"] >= 0.0
