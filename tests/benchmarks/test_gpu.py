"""The script for GPUs, as far as a machine without one can tell: its checks hold on a CPU, its figures add up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gpu
import gpu_checks
import pytest
import torch

from benchmarks.conftest import BENCHMARKS

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_changes_nothing() -> None:
    before = (BENCHMARKS / "RESULTS.md").read_bytes()
    done = subprocess.run([sys.executable, str(BENCHMARKS / "gpu.py")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no GPU\n")
    assert (BENCHMARKS / "RESULTS.md").read_bytes() == before


@pytest.mark.parametrize("check", gpu_checks.CHECKS, ids=lambda check: check.__name__)
def test_what_must_hold_on_a_gpu_holds_on_a_cpu(check: Callable[[torch.device], None]) -> None:
    check(CPU)


@pytest.mark.slow
def test_processes_on_a_cpu_train_the_same() -> None:
    gpu_checks.processes_train_the_same(CPU, 2)


def test_a_check_sees_a_wrong_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from braid.encoders.bert_module import BertEncoder

    plain = BertEncoder.forward
    calls = iter(range(1000))

    def wrong(self: BertEncoder, *given: object) -> object:
        last, layers = plain(self, *given)  # type: ignore[arg-type]
        return last + 0.01 * (next(calls) > 0), layers

    monkeypatch.setattr(BertEncoder, "forward", wrong)
    with pytest.raises(AssertionError, match="bert"):
        gpu_checks.forward_is_the_cpus(CPU)


def test_a_check_that_fails_is_told_in_one_line() -> None:
    def fails() -> None:
        raise AssertionError("not\nequal | 1")

    assert gpu.outcome(fails) == "failed: AssertionError: not equal / 1"
    assert gpu.outcome(lambda: None) == "ok (0 s)"


def test_processes_are_powers_of_two_and_all() -> None:
    assert [gpu.counts(number) for number in (0, 1, 2, 4, 8)] == [[], [1], [1, 2], [1, 2, 4], [1, 2, 4, 8]]


@pytest.mark.parametrize("kind", ["fine-tuning", "pre-training"])
def test_a_timed_run_counts_tokens_and_products(kind: str) -> None:
    sizes = gpu.Sizes(layers=1, hidden=32, inner=64, heads=2)
    found = gpu.timed(CPU, "tiny", sizes, kind, tokens=1024, steps=2)
    assert 512 < found["tokens a step"] <= 1024
    assert found["real tokens/s"] > 0
    assert json.loads(json.dumps(found)) == found
    lines = gpu.table_of(tuple(found), [tuple(map(gpu.shown, found.values()))])
    assert len({line.count("|") for line in lines}) == 1


def test_the_section_is_written_where_a_gpu_is(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    gpu.write_gpu("today, here\n\n| check | found |", path)
    assert "## On a GPU\n\ntoday, here\n" in path.read_text(encoding="utf-8")
