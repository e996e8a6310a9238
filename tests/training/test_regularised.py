"""What every regulariser must do, whatever it is. New ones are tested without a change to this file."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from braid.balancing.sum import Sum
from braid.config.families import RegulariserConfig, TaskConfig
from braid.config.recipe import Recipe
from braid.config.training import TrainConfig
from braid.data.groups import make_batch
from braid.errors import RecipeError, RunDirectoryError
from braid.model.network import BraidModel
from braid.training.regularised import Regularised
from braid.training.regularisers.base import Regulariser
from training.test_exactness import gradients, mixed_data, stopped_and_resumed, trainer_of, weights

NAMES = list(RegulariserConfig.variants())
MASKS = {"encoder": {"dropout": 0.1}}


@pytest.fixture(scope="module")
def mixed() -> tuple[Any, Any, Any]:
    return mixed_data()


def variant(name: str) -> type[Regulariser]:
    found = RegulariserConfig.lookup(name)
    assert issubclass(found, Regulariser)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_config_to_json_to_config(name: str) -> None:
    train = TrainConfig(regularisers=[name])
    again = TrainConfig.model_validate(json.loads(train.model_dump_json()))
    assert again == train
    assert again.regularisers[0].type == name
    assert set(train.model_dump(mode="json")["regularisers"][0]) == set(variant(name).model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_finite_and_eight_rows_can_be_overfitted(name: str) -> None:
    torch.manual_seed(1)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens("classification")]
    tokenizer = tiny.tokenizer_of(examples)
    specs = tiny.specs_of({"t": tiny.task_of("classification", dropout=0.1)}, {"t": examples})
    model = BraidModel(tiny.encoder_of(tokenizer), specs).train()
    batch = make_batch([tiny.group_of(specs, examples, tokenizer)], [(0, row) for row in range(8)])
    config = variant(name)(epsilon=0.01) if "epsilon" in variant(name).model_fields else variant(name)()  # type: ignore[call-arg]
    regularised = Regularised(model, [config])
    regularised.scales = {"t": 1 / 8}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(100):
        loss = regularised.objective(model, batch, nullcontext(), ())["t"] / 8
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        regularised.stepped()
    regularised.finish()
    model.eval()
    with torch.no_grad():
        assert model.losses(batch, nullcontext())["t"].item() / 8 < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_without_strength_it_does_nothing(mixed: Any, tmp_path: Path, name: str) -> None:
    """The model has no dropout."""
    plain = trainer_of(mixed, tmp_path / "plain", max_steps=6, eval_every=3)
    off = {"type": name, **variant(name).without_effect}
    other = trainer_of(mixed, tmp_path / "other", max_steps=6, eval_every=3, regularisers=[off])
    for trainer in (plain, other):
        trainer.train()
    for one, two in zip(weights(plain).values(), weights(other).values(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_with_strength_it_does_something(mixed: Any, tmp_path: Path, name: str) -> None:
    specs = tiny.specs_of({n: tiny.task_of(k.task.type, dropout=0.1) for n, k in mixed[2].items()}, examples_of(mixed))
    data = (mixed[0], mixed[1], specs)
    found = []
    for options in ({}, {"regularisers": [name]}):
        trainer = trainer_of(data, tmp_path / str(len(found)), max_steps=4, **MASKS, **options)
        torch.manual_seed(3)
        trainer.train()
        found.append(weights(trainer))
    assert any(not torch.equal(found[0][key], found[1][key]) for key in found[0])


def examples_of(mixed: Any) -> dict[str, Any]:
    return {group.tasks[0]: group.examples for group in mixed[0]}


@pytest.mark.parametrize("regularisers", [*([name] for name in NAMES), NAMES], ids=str)
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(mixed: Any, tmp_path: Path, regularisers: list[str]) -> None:
    options = {"epochs": 2, "accumulate": 2, "regularisers": regularisers, **MASKS}
    straight = trainer_of(mixed, tmp_path / "a", **options)
    straight.train()

    first, second = stopped_and_resumed(mixed, tmp_path / "b", 5, **options)
    second.train()
    expected, found = weights(straight), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert straight.history == [*first.history, *second.history]


@pytest.mark.parametrize("regularisers", [["rdrop"], ["fgm"], ["pgd"], ["rdrop", "fgm", "ema"]], ids=str)
@pytest.mark.parametrize("parts", [2, 5])
def test_the_gradient_does_not_depend_on_how_a_batch_is_divided(
    mixed: Any, tmp_path: Path, regularisers: list[str], parts: int
) -> None:
    trainer = trainer_of(mixed, tmp_path, regularisers=regularisers)
    whole, divided = gradients(trainer, 1), gradients(trainer, parts)
    assert whole.keys() == divided.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], divided[name], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["fgm", "rdrop"])
def test_activations_that_are_computed_anew_give_the_same_gradient(mixed: Any, tmp_path: Path, name: str) -> None:
    """The graph is walked twice, for the attack and for the step."""
    kept = gradients(trainer_of(mixed, tmp_path, regularisers=[name]), 1)
    anew = gradients(trainer_of(mixed, tmp_path, regularisers=[name], activation_checkpointing=True), 1)
    for key in kept:
        torch.testing.assert_close(kept[key], anew[key], atol=1e-6, rtol=1e-5)


def test_neither_does_that_of_smart_with_fixed_noise(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braid.training.regularisers import smart

    def fixed(self: Any, plain: Any) -> torch.Tensor:
        return 0.01 * plain.model.encoder.word_embeddings.detach()[plain.batch.ids].sign()

    monkeypatch.setattr(smart._Smart, "start", fixed)
    trainer = trainer_of(mixed, tmp_path, regularisers=["smart"])
    with torch.no_grad():  # the average must say something else than the model
        for parameter in trainer.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    whole, divided = gradients(trainer, 1), gradients(trainer, 4)
    for name in whole:
        torch.testing.assert_close(whole[name], divided[name], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_bf16_with_all_weights_in_fp32(mixed: Any, tmp_path: Path, name: str) -> None:
    trainer = trainer_of(mixed, tmp_path, max_steps=1, regularisers=[name], **MASKS)
    trainer.precision = "bf16"
    trainer.train()
    assert all(tensor.isfinite().all() for tensor in weights(trainer).values())
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", [n for n in NAMES if not RegulariserConfig.lookup(n).compares])
@pytest.mark.parametrize("kind", ["mlm", "seq2seq"])
def test_those_that_compare_nothing_go_with_any_type(name: str, kind: str, tmp_path: Path) -> None:
    """The vocabulary's gradient, which is computed in the forward pass, is scaled rightly although the graph is
    walked twice."""
    torch.manual_seed(0)
    if kind == "mlm":
        from braid.data.changes import Draw

        group, _, specs, make = tiny.text_group("mlm", "t", tmp_path)
        model, draw = BraidModel(make(), specs).train(), Draw(1, 0, 0)
        batch = make_batch([group], [(0, row) for row in range(len(group))], draw=draw)
    else:
        examples = [tiny.example_of(row, "t") for row in tiny.specimens(kind)]
        tokenizer = tiny.tokenizer_of(examples)
        specs = tiny.specs_of({"t": tiny.task_of(kind)}, {"t": examples})
        model = BraidModel(tiny.encoder_of(tokenizer), specs).train()
        batch = make_batch([tiny.group_of(specs, examples, tokenizer)], [(0, row) for row in range(8)])
    regularised = Regularised(model, [variant(name)()])
    regularised.scales = {"t": 0.25}
    loss = 0.25 * regularised.objective(model, batch, nullcontext(), ())["t"]
    Sum().backward({"t": loss}, [])
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if name in ("fgm", "pgd"):
        table = model.encoder.word_embeddings
        assert table.grad is not None
        found, step = table.grad.clone(), 1e-3
        direction = torch.randn_like(table)
        direction /= direction.norm()
        # The attack is fixed, so that its own change with the weights does not count.
        changes = _attacks(regularised, model, batch)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                table.add_(sign * step * direction)
            values.append(0.25 * _fixed_loss(model, batch, changes))
            with torch.no_grad():
                table.sub_(sign * step * direction)
        slope = (values[0] - values[1]) / (2 * step)
        assert (found * direction).sum().item() == pytest.approx(slope, rel=0.05, abs=5e-4)


def _attacks(regularised: Regularised, model: BraidModel, batch: Any) -> torch.Tensor:
    """The change of the word vectors that an attack ends with."""
    seen: list[torch.Tensor] = []
    plain = type(model.encoder).shifted

    def watched(self: Any, shift: torch.Tensor) -> Any:
        seen.append(shift.detach().clone())
        return plain(self, shift)

    type(model.encoder).shifted = watched  # type: ignore[method-assign]
    try:
        regularised.objective(model, batch, nullcontext(), ())
    finally:
        type(model.encoder).shifted = plain  # type: ignore[method-assign]
    return seen[-1]


def _fixed_loss(model: BraidModel, batch: Any, change: torch.Tensor) -> float:
    with torch.no_grad():
        here = model.losses(batch, nullcontext())["t"]
        with model.encoder.shifted(change):
            return (here + model.losses(batch, nullcontext())["t"]).item()


def recipe(**train: Any) -> Recipe:
    return Recipe(
        encoder={"type": "bert", "hidden_size": 32, "layers": 1, "heads": 2},
        tasks={
            "mood": {"type": "classification", "data": "x.tsv"},
            "language": {"type": "mlm", "data": "y.txt"},
            "order": {"type": "sop", "data": "y.txt"},
        },
        train=train,
    )


def test_a_recipe_says_all_that_does_not_go_together() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(regularisers=["rdrop", {"type": "smart"}, "mixout", "fgm"])
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    for task in ("language", "order"):
        for kind in ("rdrop", "smart"):
            assert f"{kind} compares two answers to one row; task '{task}'" in text
    assert "mixout keeps weights near the pretrained ones, but the encoder has no `pretrained`" in text
    assert "train.regularisers[1]" in text


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"regularisers": ["fgmm"]}, "unknown regulariser type 'fgmm'"),
        ({"regularisers": ["fgm", {"type": "fgm", "epsilon": 2}]}, "fgm stands there more than once"),
        ({"regularisers": ["fgm"], "parallel": "fsdp"}, "regularisers need all weights in every process"),
        ({"regularisers": [{"type": "ema", "decay": 1}]}, "decay"),
    ],
)
def test_a_wrong_recipe_is_refused(train: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**train)
    assert message in str(caught.value)


def test_one_may_stand_without_a_list() -> None:
    assert recipe(regularisers="fgm").train.regularisers == recipe(regularisers=[{"type": "fgm"}]).train.regularisers


def test_a_state_without_what_a_regulariser_remembers_is_refused(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, regularisers=["ema"])
    with pytest.raises(RunDirectoryError, match="what the regulariser 'ema' must remember"):
        trainer.regularised.load({})


def test_a_type_that_says_it_is_comparable_can_be_compared() -> None:
    from braid.tasks.base import Head, LabelledTask

    for name, kind in TaskConfig.variants().items():
        if not issubclass(kind, LabelledTask):
            assert not kind.comparable, name
            continue
        examples = [tiny.example_of(row, "t") for row in tiny.specimens(name)]
        spec = tiny.specs_of({"t": tiny.task_of(name)}, {"t": examples})["t"]
        head = spec.task.make_head(spec.facts, 32)
        assert kind.comparable == (type(head).divergence is not Head.divergence), name
