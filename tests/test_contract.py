"""What every variant must do, whatever it is. New variants are tested without a change to this file."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import braid
import tiny
from braid.balancing.base import Balancer
from braid.balancing.sum import Sum
from braid.checkpoint.files import save_tensors, write_json
from braid.checkpoint.model_files import load_model, save_encoder, save_tasks
from braid.config.families import BalancerConfig, EncoderConfig, RegulariserConfig, SamplerConfig, TaskConfig
from braid.config.variant import Variant, file_of
from braid.data.changes import Draw
from braid.data.groups import GroupData, make_batch
from braid.data.packing import pack_ids
from braid.data.samplers.base import Sampler
from braid.data.windows import units_of
from braid.encoders.base import Encoder, EncoderVariant
from braid.errors import BraidError
from braid.model.evaluate import evaluate
from braid.model.network import BraidModel
from braid.tasks.base import LabelledTask
from braid.tasks.text import TextTask
from tiny import loss_scales, task_losses

TASKS = [name for name, variant in TaskConfig.variants().items() if issubclass(variant, LabelledTask)]
TEXT_TASKS = [name for name, variant in TaskConfig.variants().items() if issubclass(variant, TextTask)]
ENCODERS = [(name, k) for name, v in EncoderConfig.variants().items() for k in range(len(v.contract_variants()))]  # type: ignore[attr-defined]


def encoder_config(name: str, number: int) -> EncoderVariant:
    variant = EncoderConfig.lookup(name)
    assert issubclass(variant, EncoderVariant)
    return variant.model_validate({"type": name, **variant.contract_variants()[number]})


TWINS = [(name, k) for name, k in ENCODERS if encoder_config(name, k).twin()]


class Setup:
    """Eight specimens of a task type with a tiny model."""

    def __init__(self, kind: str, **encoder: Any) -> None:
        torch.manual_seed(0)
        self.name = "the.task"
        self.examples = [tiny.example_of(row, self.name) for row in tiny.specimens(kind)]
        self.tokenizer = tiny.tokenizer_of(self.examples)
        self.specs = tiny.specs_of({self.name: tiny.task_of(kind)}, {self.name: self.examples})
        self.group = tiny.group_of(self.specs, self.examples, self.tokenizer)
        self.model = tiny.model_of(self.tokenizer, self.specs, **encoder).eval()
        self.spec = self.specs[self.name]

    def batch(self) -> Any:
        order = sorted(self.group.rows, key=lambda row: int(self.group.rows.lengths[row]))
        return make_batch([self.group], [(0, row) for row in order])


@pytest.fixture(scope="module", params=TASKS)
def setup(request: pytest.FixtureRequest) -> Setup:
    return Setup(request.param)


@pytest.mark.parametrize("family", [TaskConfig, EncoderConfig, SamplerConfig, BalancerConfig, RegulariserConfig])
def test_config_to_json_to_config(family: type[Variant]) -> None:
    for name, variant in family.variants().items():
        config = variant.model_validate({"type": name})
        assert variant.model_validate(json.loads(config.model_dump_json())) == config
        assert config.type == name  # type: ignore[attr-defined]
        assert Path(file_of(variant)).is_file()
        assert (variant.__doc__ or "").strip(), f"{name} says nothing of itself"
        assert all(field.description for field in variant.model_fields.values() if field.default != name), name


def test_packed_logits_equal_those_of_each_row_alone(setup: Setup) -> None:
    batch = setup.batch()
    with torch.no_grad():
        together = setup.model(batch)[setup.name]
        alone = [setup.model(make_batch([setup.group], [origin]))[setup.name] for origin in batch.origins]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_eight_examples_can_be_overfitted(setup: Setup) -> None:
    torch.manual_seed(1)
    model = BraidModel(tiny.encoder_of(setup.tokenizer), setup.specs).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    batch = setup.batch()
    scale = loss_scales([batch], {setup.name: 1.0}, "row")[setup.name]
    first = last = 0.0
    for step in range(150):
        loss = task_losses(model, batch, model(batch))[setup.name] * scale
        assert torch.isfinite(loss)
        assert loss.ndim == 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item(), first) if step == 0 else (first, loss.item())
    assert last < 0.1 * first
    main = evaluate(model, [setup.group])[setup.name][setup.spec.task.best(setup.spec.facts)]
    assert main == pytest.approx(1.0, abs=0.01)


def test_oracle_logits_decode_to_the_gold_labels(setup: Setup) -> None:
    table = setup.group.targets[setup.name]
    logits: list[np.ndarray] = []
    for row in setup.group.rows:
        oracle = setup.spec.task.oracle(table[row], setup.spec.facts)
        if setup.group.rows.number[row] == 0:
            logits.append(oracle)
        else:
            logits[-1] = np.concatenate([logits[-1], oracle])
    units = [units_of(example, setup.group.units) for example in setup.examples]
    decoded = setup.model.head(setup.name).decode(logits, setup.examples, units)
    meter = setup.spec.task.meter(setup.spec.facts)
    for prediction, example, spans in zip(decoded, setup.examples, units, strict=True):
        meter.update(prediction, setup.spec.task.gold(example.labels[setup.name], example, spans, setup.spec.facts))
        json.dumps(prediction.to_json())
    scores = meter.compute()
    assert scores[setup.spec.task.best(setup.spec.facts)] == pytest.approx(1.0, abs=1e-6)


def test_saved_and_loaded_it_predicts_the_same(setup: Setup, tmp_path: Path) -> None:
    config = EncoderConfig.lookup("bert").model_validate(tiny.ENCODER)
    sha = save_encoder(tmp_path, setup.model.encoder, config, setup.tokenizer, max_length=48, stride=12)
    save_tasks(tmp_path, setup.model, sha)
    loaded = load_model(tmp_path)
    before, after = tiny.infer(setup.model, [setup.group]), tiny.infer(loaded.network, [setup.group])
    assert before == after
    assert loaded.tokenizer.sha256 == setup.tokenizer.sha256


def test_a_row_without_a_label_adds_nothing(setup: Setup) -> None:
    bare = [replace(example, labels={}) for example in setup.examples[:3]]
    examples = [*setup.examples, *bare]
    group = tiny.group_of(setup.specs, examples, setup.tokenizer)
    batch = make_batch([group], [(0, row) for row in group.rows])
    full = make_batch([setup.group], [(0, row) for row in setup.group.rows])
    assert batch.targets[setup.name].count == full.targets[setup.name].count
    with torch.no_grad():
        more = task_losses(setup.model, batch, setup.model(batch))[setup.name]
        less = task_losses(setup.model, full, setup.model(full))[setup.name]
    torch.testing.assert_close(more, less, atol=1e-4, rtol=1e-5)
    assert evaluate(setup.model, [group])[setup.name] == pytest.approx(
        evaluate(setup.model, [setup.group])[setup.name], abs=1e-4
    )


def test_answers_are_compared_row_by_row(setup: Setup) -> None:
    """A divergence is 0 with itself, the same from both sides, greater elsewhere, and the sum of its parts; gradients
    reach both sides."""
    if not setup.spec.task.comparable:
        pytest.skip("it compares nothing")
    torch.manual_seed(3)
    head, batch = setup.model.head(setup.name), setup.batch()
    whole = setup.model.passed(batch, nullcontext()).logits[setup.name].detach()
    sides = [(whole + 0.3 * torch.randn_like(whole)).requires_grad_() for _ in range(2)]
    targets = batch.targets[setup.name]
    apart = head.divergence(sides[0], sides[1], targets)
    assert apart.ndim == 0
    assert apart.item() > 1e-6
    assert head.divergence(sides[0], sides[0], targets).item() == pytest.approx(0.0, abs=1e-5)
    assert head.divergence(sides[1], sides[0], targets).item() == pytest.approx(apart.item(), rel=1e-4)
    for gradient in torch.autograd.grad(apart, sides):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    if setup.spec.task.together == "row" and setup.spec.task.layout == "joint":
        sizes = head.sizes(batch, targets.rows).tolist()
        parts = []
        for origin, one, two in zip(batch.origins, sides[0].split(sizes), sides[1].split(sizes), strict=True):
            alone = make_batch([setup.group], [origin]).targets[setup.name]
            parts.append(head.divergence(one, two, alone).item())
        assert sum(parts) == pytest.approx(apart.item(), rel=1e-4)


def test_meters_of_parts_merge_into_the_meter_of_all(setup: Setup) -> None:
    spec = setup.spec
    predictions = tiny.infer(setup.model, [setup.group])[0, setup.name]
    whole, left, right = (spec.task.meter(spec.facts) for _ in range(3))
    for number, (prediction, example) in enumerate(zip(predictions, setup.examples, strict=True)):
        gold = spec.task.gold(example.labels[setup.name], example, units_of(example, setup.group.units), spec.facts)
        whole.update(prediction, gold)
        (left if number < 3 else right).update(prediction, gold)
    left.merge(right)
    assert left.compute() == pytest.approx(whole.compute())
    assert next(iter(whole.compute())) == spec.task.best(spec.facts), "the main metric stands first"


def test_a_long_text_is_read_whole_or_cut_and_counted(setup: Setup) -> None:
    examples = [
        replace(example, text=" ".join([example.text] * 40), words=None, labels={}) for example in setup.examples
    ]
    group = tiny.group_of(setup.specs, examples, setup.tokenizer)
    bare = GroupData(group.tasks, examples, group.rows, group.units)
    predictions = tiny.infer(setup.model, [bare])[0, setup.name]
    assert len(predictions) == len(examples)
    assert (group.truncated() == 0) is (setup.spec.task.layout == "windows")


@pytest.fixture(scope="module")
def both_of_all(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with a task of every type, its export as one graph, and what was left out of that."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from braid.export.exporting import export

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("all")
    examples = {kind: [tiny.example_of(row, kind) for row in tiny.specimens(kind)] for kind in TASKS}
    tokenizer = tiny.tokenizer_of([example for found in examples.values() for example in found])
    model = tiny.model_of(tokenizer, tiny.specs_of({kind: tiny.task_of(kind) for kind in TASKS}, examples)).eval()
    config = EncoderConfig.lookup("bert").model_validate(tiny.ENCODER)
    sha = save_encoder(folder / "run", model.encoder, config, tokenizer, max_length=48, stride=12)
    save_tasks(folder / "run", model, sha)
    left_out = export(folder / "run").left_out
    return braid.load(folder / "run", precision="fp32"), braid.load(folder / "run-onnx"), examples, left_out


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_type_is_exported_or_left_out_with_a_reason(kind: str, both_of_all: Any) -> None:
    from braid.export.parity import agreement

    run, exported, examples, left_out = both_of_all
    if kind in left_out:
        assert kind not in exported.tasks
        assert kind in left_out[kind]
        return
    found = agreement(run, exported, examples, tasks=[kind])[kind]
    assert found.inputs == len(examples[kind])
    assert found.exact
    assert found.raw < 1e-4


class TextSetup:
    """Eight rows of a tiny corpus with a task type that makes its own targets."""

    def __init__(self, kind: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.name = "the.task"
        self.group, self.tokenizer, self.specs, self.encoder = tiny.text_group(kind, self.name, folder)
        self.model = BraidModel(self.encoder(), self.specs).eval()

    def batch(self, rows: Any = None, *, step: int = 0) -> Any:
        chosen = range(min(8, len(self.group))) if rows is None else rows
        return make_batch([self.group], [(0, row) for row in chosen], draw=Draw(seed=1, step=step))


@pytest.fixture(scope="module", params=TEXT_TASKS)
def text_setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextSetup:
    return TextSetup(request.param, tmp_path_factory.mktemp(request.param))


def test_a_text_task_answers_packed_as_for_each_row_alone(text_setup: TextSetup) -> None:
    batch = text_setup.batch()
    with torch.no_grad():
        together = text_setup.model(batch)[text_setup.name]
        alone = [text_setup.model(text_setup.batch([row]))[text_setup.name] for _, row in batch.origins]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert batch.targets[text_setup.name].count == len(together)


def test_a_text_task_overfits_eight_rows(text_setup: TextSetup) -> None:
    torch.manual_seed(1)
    model = BraidModel(text_setup.encoder(), text_setup.specs).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    batch = text_setup.batch()
    scale = loss_scales([batch], {text_setup.name: 1.0}, "row")[text_setup.name]
    losses = []
    for _ in range(150):
        loss = task_losses(model, batch, model(batch))[text_setup.name] * scale
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    # What the first tokens of a row are cannot be told from nothing, so a language model keeps some loss.
    assert losses[-1] < 0.25 * losses[0]


def test_a_text_task_is_measured_alike_each_time(text_setup: TextSetup) -> None:
    first, again = (evaluate(text_setup.model, [text_setup.group])[text_setup.name] for _ in range(2))
    assert first == again
    assert next(iter(first)) == text_setup.specs[text_setup.name].task.best({}) == "loss"
    assert 0 <= first["accuracy"] <= 1


def test_a_text_task_has_targets_only_where_a_row_is_drawn(text_setup: TextSetup) -> None:
    assert not make_batch([text_setup.group], [(0, 0)]).targets
    one, same, other = (text_setup.batch(step=step) for step in (0, 0, 1))
    assert torch.equal(one.ids, same.ids)
    if text_setup.group.makers and text_setup.specs[text_setup.name].task.changes_input:  # type: ignore[attr-defined]
        assert not torch.equal(one.ids, other.ids)
    else:
        assert torch.equal(one.ids, other.ids)


def test_a_text_task_saved_and_loaded_scores_the_same(text_setup: TextSetup, tmp_path: Path) -> None:
    config = text_setup.encoder.config
    sha = save_encoder(tmp_path, text_setup.model.encoder, config, text_setup.tokenizer, max_length=32, stride=8)
    save_tasks(tmp_path, text_setup.model, sha)
    loaded = load_model(tmp_path)
    assert evaluate(loaded.network, [text_setup.group]) == evaluate(text_setup.model, [text_setup.group])


def test_a_text_task_is_left_out_of_a_graph_with_a_reason(text_setup: TextSetup) -> None:
    from braid.export.graph import refusals

    heads = dict(text_setup.model.heads())
    assert "makes its own targets" in refusals(text_setup.specs, heads)[text_setup.name]


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_becomes_a_graph_or_says_that_it_cannot(name: str, number: int) -> None:
    from braid.export.graph import Graph
    from braid.export.writing import trace

    _, encoder = encoder_of(name, number)
    model = BraidModel(encoder, {})
    if not encoder.traceable:
        with pytest.raises(BraidError, match=f"{name}.*cannot be exported"):
            Graph(model, [])
        return
    graph = Graph(model, [])
    ids = torch.randint(5, 60, (3, 17))
    mask = torch.ones_like(ids)
    mask[0, 9:], mask[2, 4:] = 0, 0
    given = [ids, mask, torch.zeros_like(ids)]
    rows = [ids[k, : int(mask[k].sum())].tolist() for k in range(3)]
    with torch.no_grad():
        found = trace(graph).module()(*given)[0]
        batch = pack_ids(rows)
        expected = torch.stack([encoder(batch)[0][span].mean(dim=0) for span in batch])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_keeps_rows_apart_and_knows_its_depths(name: str, number: int) -> None:
    _, encoder = encoder_of(name, number)
    rows = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [17]]
    batch = pack_ids(rows)
    with torch.no_grad():
        last, layers = encoder(batch)
        for span, row in zip(batch, rows, strict=True):
            alone, _ = encoder(pack_ids([row]))
            torch.testing.assert_close(last[span], alone, atol=1e-5, rtol=1e-5)
    assert last.shape == (13, encoder.hidden_size)
    assert all(layer.shape == last.shape for layer in layers)
    depths = [encoder.layer_of(parameter) for parameter, _ in encoder.named_parameters()]
    assert min(depths) == 0
    assert max(depths) <= encoder.n_layers


def encoder_of(name: str, number: int) -> tuple[EncoderVariant, Encoder]:
    torch.manual_seed(0)
    config = encoder_config(name, number)
    return config, config.build(vocab_size=60, pad_id=0).eval()


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_adds_to_word_vectors_what_it_is_told(name: str, number: int) -> None:
    """Rows whose vectors are moved to those of other words are rows of these words, whatever their lengths."""
    torch.manual_seed(0)
    encoder = encoder_config(name, number).build(vocab_size=60, pad_id=0).eval()
    rows = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16]]
    others = [[20, 6, 21, 8, 22, 10, 23], [24, 13], [14, 25, 26]]
    here, there = pack_ids(rows), pack_ids(others)
    table = encoder.word_embeddings
    shift = (table[there.ids] - table[here.ids]).detach().requires_grad_()
    with encoder.shifted(shift):
        found = encoder(here)[0]
    expected = encoder(there)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(found.square().sum(), [shift])
    assert (gradient.abs().sum(dim=1) > 0).all(), "every token is reached"
    assert torch.equal(encoder(here)[0], encoder(here)[0])
    assert not torch.allclose(encoder(here)[0], expected), "it is over"


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_sees_what_it_says(name: str, number: int) -> None:
    _, encoder = encoder_of(name, number)
    half = encoder.hidden_size // 2
    with torch.no_grad():
        first, last = (encoder(pack_ids([row]))[0] for row in ([5, 6, 7, 8, 9], [5, 6, 30, 8, 9]))
    changed = (first - last).abs() > 1e-6
    before, after = changed[:2], changed[3:]
    assert changed[2].any()
    if encoder.sees == "both":
        assert before.any()
        assert after.any()
    elif encoder.sees == "left":
        assert not before.any()
        assert after.any()
    else:
        assert before[:, half:].any()
        assert after[:, :half].any()
        assert not before[:, :half].any()
        assert not after[:, half:].any()
    assert encoder.word_embeddings.shape[0] == encoder.vocab_size


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_saved_and_loaded_gives_the_same_states(name: str, number: int, tmp_path: Path) -> None:
    config, encoder = encoder_of(name, number)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    loaded = type(config).model_validate({"type": name}).load(tmp_path).eval()
    batch = pack_ids([[5, 6, 7, 8], [9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch)[0], encoder(batch)[0], atol=1e-6, rtol=1e-6)
    assert (loaded.hidden_size, loaded.n_layers, loaded.vocab_size) == (
        encoder.hidden_size,
        encoder.n_layers,
        encoder.vocab_size,
    )


@pytest.mark.parametrize(("name", "number"), ENCODERS)
def test_an_encoder_writes_on_as_if_it_had_read_all(name: str, number: int) -> None:
    _, encoder = encoder_of(name, number)
    rows = [[5, 6, 7, 8], [9, 10]]
    with torch.no_grad():
        if encoder.sees != "left":
            with pytest.raises(BraidError, match="cannot write on"):
                encoder.continuation(pack_ids(rows))
            return
        state = encoder.continuation(pack_ids(rows))
        state.select(torch.tensor([0, 1, 0]))
        written = [[*rows[0]], [*rows[1]], [*rows[0]]]
        for ids in ([11, 14, 20], [12, 15, 21], [13, 16, 22]):
            expected = []
            for row, token in zip(written, ids, strict=True):
                row.append(token)
                expected.append(encoder(pack_ids([row]))[0][-1])
            torch.testing.assert_close(state.step(torch.tensor(ids)), torch.stack(expected), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(state.last, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "number"), TWINS)
def test_an_encoder_is_exported_to_transformers(name: str, number: int, tmp_path: Path) -> None:
    from transformers import AutoModel

    _, encoder = encoder_of(name, number)
    save_tensors(tmp_path / "model.safetensors", encoder.hf_state())
    write_json(tmp_path / "config.json", encoder.hf_config())
    model = AutoModel.from_pretrained(tmp_path).eval()
    row = [5, 6, 7, 8, 9]
    with torch.no_grad():
        expected = model(torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(encoder(pack_ids([row]))[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", list(BalancerConfig.variants()))
def test_a_balancer_is_finite_blind_to_order_and_plain_for_one_task(name: str) -> None:
    balancer = BalancerConfig.lookup(name).model_validate({"type": name})
    assert isinstance(balancer, Balancer)

    def gradient(method: Balancer, order: list[str]) -> torch.Tensor:
        torch.manual_seed(0)
        shared = torch.nn.Parameter(torch.randn(6))
        targets = {task: torch.randn(6) for task in ("a", "b", "c")}
        method.backward({task: ((shared - targets[task]) ** 2).sum() for task in order}, [shared])
        assert shared.grad is not None
        return shared.grad

    assert torch.isfinite(gradient(balancer, ["a", "b", "c"])).all()
    torch.testing.assert_close(gradient(balancer, ["a", "b", "c"]), gradient(balancer, ["c", "a", "b"]))
    torch.testing.assert_close(gradient(balancer, ["b"]), gradient(Sum(), ["b"]))


@pytest.mark.parametrize("name", list(SamplerConfig.variants()))
def test_a_sampler_draws_whole_rows_of_every_group(name: str) -> None:
    sampler = SamplerConfig.lookup(name).model_validate({"type": name})
    assert isinstance(sampler, Sampler)
    for epoch in range(3):
        draws = sampler.draws([10, 200, 0], [1.0, 2.0, 1.0], epoch=epoch, epochs=3)
        assert all(isinstance(n, int) and n >= 0 for n in draws)
        assert draws[2] == 0
        assert draws[0] > 0
        assert draws[1] > 0
