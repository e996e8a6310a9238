"""Utilisation: the parts of the work are the whole, and operators fall to the right part."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from matmul import Sizes, peak, peak_of
from utilisation import ATTENTION, LINEAR, OUTPUT, attention_shapes, output_shapes, part_of, work_of

from benchmarks.conftest import BENCHMARKS

SIZES = Sizes(layers=2, hidden=32, inner=64, heads=4, vocabulary=100)


def test_work_by_hand() -> None:
    work = work_of(SIZES, [3, 5], predicted=2)
    assert work[LINEAR] == 2 * 8 * 2 * (32 * 96 + 32 * 32 + 32 * 64 + 64 * 32)
    assert work[ATTENTION] == 2 * 4 * 32 * (9 + 25)
    assert work[OUTPUT] == 2 * 2 * (32 * 32 + 32 * 100)
    assert sum(work.values()) == SIZES.flops([3, 5], predicted=2)


def test_shapes_whose_peak_is_measured_hold_the_same_work() -> None:
    rows = [16] * 10
    done = SIZES.layers * sum(2 * a * b * c * d for a, b, c, d in attention_shapes(SIZES, rows, tokens=160))
    assert done == work_of(SIZES, rows, 0)[ATTENTION]
    assert sum(2 * a * b * c * d for a, b, c, d in output_shapes(SIZES, 7)) == work_of(SIZES, rows, 7)[OUTPUT]


@pytest.mark.parametrize(
    ("name", "shapes", "part"),
    [
        ("aten::addmm", [[64], [8, 32], [32, 64]], LINEAR),
        ("aten::mm", [[8, 32], [32, 100]], OUTPUT),
        ("mkldnn::_linear_pointwise", [[8, 32], [], []], LINEAR),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[1, 4, 8, 8]], ATTENTION),
        ("aten::_fused_adamw_", [], "optimiser, norm of the gradient"),
        ("aten::linalg_vector_norm", [[32]], "optimiser, norm of the gradient"),
        ("aten::native_layer_norm", [[8, 32]], "norms, activations, dropout"),
        ("aten::copy_", [[8, 100]], "casts and copies"),
        ("something", [], "other operators"),
    ],
)
def test_operators_fall_to_their_part(name: str, shapes: list[object], part: str) -> None:
    assert part_of(name, shapes, 100) == part


def test_a_peak_is_that_of_its_products() -> None:
    plain = peak(SIZES, 64, torch.float32, backward=True, seconds=0.05)
    batched = peak_of([(4, 16, 8, 16)], torch.float32, backward=False, seconds=0.05)
    assert plain > 0
    assert batched > 0


@pytest.mark.slow
def test_it_runs_and_ends_with_a_line_of_json() -> None:
    command = [sys.executable, str(BENCHMARKS / "utilisation.py"), "--repeats", "1", "--steps", "1", "--texts", "8"]
    done = subprocess.run([*command, "--only", "MLM;inference"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"MLM", "inference"}
    assert all(0 < value < 1.5 for value in found.values())
