"""What a run can run into: memory, time, gradients that are not finite, another recipe at resumption."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from braid.errors import BraidError, Interrupted, RunDirectoryError
from braid.run.course import WatchedFiles, check_course, differences
from braid.training import stopping
from braid.training.budget import largest_that_fits, longest_rows
from braid.training.stopping import Stopping
from training.test_exactness import Silent, mixed_data, trainer_of


@pytest.fixture(scope="module")
def mixed() -> tuple[Any, Any, Any]:
    return mixed_data()


def test_out_of_memory_names_batch_row_and_remedy(mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(mixed, tmp_path)

    def full(*given: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(trainer.engine, "losses", full)
    with pytest.raises(BraidError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "out of memory on a batch of" in message
    assert "in 16 rows of the tasks label, score, tags" in message
    assert "its longest row has" in message
    assert "train.accumulate=2" in message


def test_a_gpu_out_of_memory_divides_the_batch(mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen through a device that claims to be a GPU: the step is computed in more parts, with the same gradient."""
    straight = trainer_of(mixed, tmp_path / "a", max_steps=3)
    straight.train()
    trainer = trainer_of(mixed, tmp_path / "b", max_steps=3)
    messages: list[str] = []

    class Loud(Silent):
        def message(self, text: str) -> None:
            messages.append(text)

    trainer.display = Loud()
    inner = trainer.engine.losses

    def small(batch: Any, *given: Any) -> Any:
        if batch.n_rows > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(batch, *given)

    class Gpu:
        type = "cuda"

    monkeypatch.setattr(trainer.engine, "losses", small)
    backward = trainer.backward
    monkeypatch.setattr(trainer, "device", Gpu())
    monkeypatch.setattr(trainer, "dev", [])
    monkeypatch.setattr(trainer, "backward", lambda *a, **k: on_cpu(trainer, backward, *a, **k))
    trainer.train()
    assert trainer.accumulate == 4
    assert len(messages) == 2
    assert "batches are now computed in 4 parts" in messages[1]
    for name, tensor in straight.model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], tensor, atol=1e-5, rtol=1e-5)


def on_cpu(trainer: Any, backward: Any, *given: Any, **options: Any) -> Any:
    device, trainer.device = trainer.device, torch.device("cpu")
    try:
        return backward(*given, **options)
    finally:
        trainer.device = device


def test_steps_without_a_finite_gradient_are_left_out_then_reported(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(mixed, tmp_path, max_bad_steps=3, eval_every=100)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    inner = trainer.engine.losses
    monkeypatch.setattr(
        trainer.engine, "losses", lambda *given: {n: v * float("nan") for n, v in inner(*given).items()}
    )
    with pytest.raises(BraidError) as caught:
        trainer.train()
    message = str(caught.value)
    assert message.startswith("3 steps in a row had no finite gradient (train.max_bad_steps)")
    assert "tags nan" in message
    assert " of tags" in message, "rows are named with their tasks"
    assert trainer.progress.bad == 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


def test_the_time_limit_saves_and_stops(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, max_minutes=0.0001)
    time.sleep(0.01)
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert caught.value.code == 124
    assert "train.max_minutes" in str(caught.value)
    assert (tmp_path / "state" / "step-1" / "state.json").is_file()


def test_signals_within_a_second_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    with Stopping(None) as found:
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.5
        signal.raise_signal(signal.SIGTERM)
        assert found.number == signal.SIGINT
        now[0] += 1.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_resumption_that_would_go_another_way_says_what_differs() -> None:
    before = {"train.lr": 5e-5, "chain": "a | b", "training rows.a": "1", "encoder.vocab": "x"}
    now = {"train.lr": 3e-5, "chain": "a | b", "training rows.a": "2", "train.sampler.type": "uniform"}
    assert differences(before, before) == []
    with pytest.raises(RunDirectoryError) as caught:
        check_course(Path("runs/x/state/step-5"), before, now)
    assert str(caught.value).splitlines()[1:-1] == [
        "    encoder.vocab: was 'x', is not there now",
        "    train.lr: was 5e-05, is 3e-05",
        "    train.sampler.type: was not there, is 'uniform'",
        "    training rows.a: the rows or their labels are others than they were",
    ]
    assert "--force" in str(caught.value)


def test_files_that_change_under_a_run_are_noticed_once(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("a")
    two.write_text("b")
    watched = WatchedFiles([str(one), str(two), str(tmp_path / "never there")])
    assert watched.changed() == []
    two.write_text("longer")
    assert watched.changed() == [str(two)]
    assert watched.changed() == []
    one.unlink()
    assert watched.changed() == [str(one)]


@pytest.mark.parametrize("room", [90, 1024, 5000, 100_000])
def test_the_budget_is_most_of_what_fits(room: int) -> None:
    found = largest_that_fits(lambda tokens: tokens <= room, start=1024)
    assert 0.7 * room <= found <= room


def test_a_memory_for_nothing_is_an_error() -> None:
    with pytest.raises(BraidError, match="does not hold a single row"):
        largest_that_fits(lambda tokens: False, start=1024)


def test_the_budget_is_tried_on_the_longest_rows(mixed: Any) -> None:
    groups = mixed[0]
    rows = longest_rows(groups, 100)
    sizes = [int(groups[g].rows.lengths[row]) for g, row in rows]
    longest = sorted((int(n) for group in groups for n in group.rows.lengths), reverse=True)
    assert sorted(sizes, reverse=True) == longest[: len(sizes)]
    assert sum(sizes) <= 100
    many = longest_rows(groups, 10 * sum(longest))
    assert len(many) > 9 * len(longest), "short data is used again"


def test_bad_steps_are_counted_in_the_figures(mixed: Any, tmp_path: Path) -> None:
    trainer = trainer_of(mixed, tmp_path, max_steps=2)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert trainer.progress.bad == 0
    assert any("dev" in line for line in lines)
