"""Batches of every size, before the first request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from braid.nn.linear import places
from braid.serve.jobs import Asked, Together
from braid.serve.warming import batches, compiles, sizes, warm


@pytest.mark.parametrize("budget", [1, 100, 700, 2048])
def test_there_is_a_batch_for_every_size_that_can_come(model: Any, budget: int) -> None:
    work = Together(model)
    tokens = [sum(sum(work.read(Asked([text]))[1]) for text in texts) for texts in batches(work, budget)]
    assert [places(count) for count in tokens] == sizes(budget)
    assert {places(count) for count in range(1, budget + 1)} == set(sizes(budget))


def test_every_batch_goes_through_the_model(model: Any) -> None:
    seen: list[int] = []

    class Heard(Together):
        def compute(self, rows: Any) -> None:
            seen.append(len(rows))
            super().compute(rows)

    warm(Heard(model), 200)
    assert len(seen) == len(sizes(200))


def test_models_that_read_no_plain_text_are_left_alone() -> None:
    deaf = SimpleNamespace(read=lambda inputs, tasks: SimpleNamespace(tokens=[0]), max_length=32)
    assert list(batches(Together(deaf), 100)) == []


@pytest.mark.parametrize(
    ("device", "precision", "expected"), [("cpu", "bf16", True), ("cpu", "fp32", False), ("meta", "bf16", False)]
)
def test_kernels_are_compiled_in_bf16_on_a_cpu(device: str, precision: str, expected: bool) -> None:
    assert compiles(SimpleNamespace(device=torch.device(device), precision=precision)) is expected


def test_a_predictor_that_says_neither_is_not_warmed() -> None:
    assert not compiles(object())
