"""Several processes train what one would: the same gradient, the same weights, the same figures, however they are
divided; and they stop, fail and resume together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import braid
from run.conftest import recipe_data

WORKER = Path(__file__).with_name("worker.py")
COURSE = {"batch_rows": 16, "max_steps": 20, "epochs": 5, "eval_every": 10, "lr": 1e-3, "encoder": {"dropout": 0.0}}


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Python in one process, or in several through torchrun."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
        start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return subprocess.run([*start, *command], capture_output=True, text=True, timeout=180, env=environment, check=False)


def launch(out: Path, processes: int, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the worker."""
    out.mkdir(parents=True, exist_ok=True)
    return torchrun(processes, str(WORKER), json.dumps({"out": str(out), **COURSE, **options}))


def trained(out: Path, processes: int, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    done = launch(out, processes, **options)
    assert done.returncode == 0, done.stderr
    gradients = load_file(out / "gradients.safetensors") if (out / "gradients.safetensors").exists() else {}
    return gradients, load_file(out / "weights.safetensors"), json.loads((out / "told.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    return trained(tmp_path_factory.mktemp("alone"), 1)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (1, {"accumulate": 4}),
        (2, {"parallel": "ddp"}),
        (2, {"parallel": "fsdp"}),
        (2, {"parallel": "ddp", "accumulate": 2}),
        (2, {"parallel": "fsdp", "accumulate": 2, "activation_checkpointing": True}),
        (3, {"parallel": "ddp"}),
    ],
    ids=str,
)
def test_any_division_of_a_batch_trains_the_same(
    tmp_path: Path, alone: Any, processes: int, options: dict[str, Any]
) -> None:
    """One row of a task is on one process only; heads without a row anywhere keep no gradient."""
    gradients, weights, told = trained(tmp_path, processes, **options)
    assert_same(gradients, alone[0], 1e-6)
    assert_same(weights, alone[1], 1e-5)
    assert told["tokens"] == alone[2]["tokens"]
    for (step, scores), (step_alone, scores_alone) in zip(told["history"], alone[2]["history"], strict=True):
        assert step == step_alone
        assert {task: list(found) for task, found in scores.items()} == {t: list(f) for t, f in scores_alone.items()}
        for task in scores:
            assert scores[task] == pytest.approx(scores_alone[task], abs=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_student_learns_the_same_in_several_processes(tmp_path: Path, parallel: str) -> None:
    expected = trained(tmp_path / "one", 1, teach=True)
    found = trained(tmp_path / "two", 2, teach=True, parallel=parallel, accumulate=2)
    assert any("layers.weight" in name and "training_only" in name for name in expected[1])
    assert_same(found[0], expected[0], 1e-5)
    assert_same(found[1], expected[1], 1e-4)


@pytest.mark.parametrize(
    "course",
    [
        {"batches": "single", "batch_rows": 5},
        {"freeze": {"encoder": True, "until": 6}},
        {"encoder": {"dropout": 0.0, "share_layers": True}},
    ],
    ids=["one task a batch", "encoder released", "one layer many times"],
)
def test_heads_without_rows_and_frozen_parts_break_nothing(tmp_path: Path, course: dict[str, Any]) -> None:
    _, expected, _ = trained(tmp_path / "alone", 1, **course)
    for parallel in ("ddp", "fsdp"):
        _, weights, _ = trained(tmp_path / parallel, 2, parallel=parallel, **course)
        assert_same(weights, expected, 1e-5)


def test_regularisers_train_the_same_in_two_processes(tmp_path: Path) -> None:
    """Attacks look at a row alone, averages are the same everywhere, and one process writes them."""
    course = {"regularisers": ["fgm", "rdrop", "ema"], "max_steps": 8, "save_every": 4}
    gradients, weights, _ = trained(tmp_path / "alone", 1, **course)
    found_gradients, found, _ = trained(tmp_path / "two", 2, **course)
    assert_same(found_gradients, gradients, 2e-6)
    assert_same(found, weights, 1e-5)
    held = [load_file(tmp_path / n / "run" / "state" / "step-4" / "regularisers.safetensors") for n in ("alone", "two")]
    assert_same(held[1], held[0], 1e-5)


@pytest.mark.parametrize("before", [(1, "ddp"), (2, "ddp"), (2, "fsdp")], ids=str)
@pytest.mark.parametrize("after", [(1, "ddp"), (2, "fsdp")], ids=str)
def test_a_run_goes_on_in_another_number_of_processes_and_another_mode(
    tmp_path: Path, alone: Any, before: tuple[int, str], after: tuple[int, str]
) -> None:
    stop = {"rank": before[0] - 1, "at": 7, "number": signal.SIGTERM}  # one process hears the signal, all stop
    stopped = launch(tmp_path, before[0], parallel=before[1], stop=stop)
    if before[0] == 1:
        assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    else:
        assert "exitcode  : 143" in stopped.stderr, stopped.stderr
    states = sorted(path.name for path in (tmp_path / "run" / "state").iterdir() if path.name.startswith("step"))
    assert states in (["step-7"], ["step-8"]), "at once, or when all have heard"
    _, weights, told = trained(tmp_path, after[0], parallel=after[1], resume=True)
    assert told["steps"] == 20
    assert_same(weights, alone[1], 1e-5)


def test_a_failure_of_one_process_ends_all_with_its_message(tmp_path: Path) -> None:
    began = time.monotonic()
    done = launch(tmp_path, 2, fail=1)
    assert done.returncode != 0
    assert done.stderr.count("this process has had enough") == 1
    assert "braid: process 1 of 2: this process has had enough" in done.stderr
    assert time.monotonic() - began < 60


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    content = recipe_data(folder)
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**content, "train": {**content["train"], "epochs": 2, "batch_tokens": "auto"}}))
    return path


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_the_command_trains_in_two_processes(recipe: Path, tmp_path: Path, parallel: str) -> None:
    out = tmp_path / "run"
    done = torchrun(2, "-m", "braid", "train", str(recipe), f"out={out}", f"train.parallel={parallel}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"on 2 processes ({parallel}) on cpu") == 1, "one of them speaks"
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["train"]["processes"] == 2
    assert f"{figures['test']['mood']['accuracy']:.4f}" in done.stdout
    assert "batch_tokens: 4096" in (out / "recipe.yaml").read_text(), "what `auto` was"
    model = braid.load(out)
    assert model.evaluate("test")["mood"]["accuracy"] == pytest.approx(figures["test"]["mood"]["accuracy"])
    assert not (out / "state").exists()


def test_what_is_wrong_with_a_recipe_is_said_once(recipe: Path, tmp_path: Path) -> None:
    done = torchrun(2, "-m", "braid", "train", str(recipe), f"out={tmp_path / 'run'}", "train.lrr=1")
    assert done.returncode != 0
    assert done.stderr.count("unknown key 'lrr'") == 1, done.stderr
