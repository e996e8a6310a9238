"""Which layers learn which, and how far they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from braid.config.distillation import DistillConfig, HiddenConfig
from braid.errors import BraidError
from braid.training.distillation.layers import Matching, layer_map


@pytest.mark.parametrize(
    ("given", "student", "teacher", "expected"),
    [
        ("uniform", 4, 12, [(0, 0), (1, 3), (2, 6), (3, 9), (4, 12)]),  # TinyBERT-4's
        ("uniform", 6, 12, [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12)]),
        ("uniform", 4, 6, [(0, 0), (1, 2), (2, 3), (3, 5), (4, 6)]),
        ("last", 2, 6, [(0, 0), (1, 5), (2, 6)]),
        ([3, 6], 2, 6, [(0, 0), (1, 3), (2, 6)]),
        ({2: 6}, 2, 6, [(0, 0), (2, 6)]),
        ({"2": 6}, 2, 6, [(0, 0), (2, 6)]),
    ],
)
def test_the_map_of_layers(given: Any, student: int, teacher: int, expected: list[tuple[int, int]]) -> None:
    config = HiddenConfig.model_validate(given)
    assert layer_map(config, student, teacher) == expected
    without = HiddenConfig.model_validate({"map": given, "embeddings": False})
    assert layer_map(without, student, teacher) == expected[1:]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2, 3], "3 layers for the student's 2"),
        ([1, 9], "the teacher has no layer 9; it has 6"),
        ({3: 1}, "the student has no layer 3; it has 2"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(given: Any, says: str) -> None:
    with pytest.raises(BraidError, match=says):
        layer_map(HiddenConfig.model_validate(given), 2, 6)
    with pytest.raises(BraidError, match="the teacher has 1 layers, the student 2"):
        layer_map(HiddenConfig(map="last"), 2, 1)


def test_a_teacher_is_a_path_or_a_mapping() -> None:
    config = DistillConfig.model_validate({"teachers": {"a": "runs/t", "b": {"run": "runs/t", "task": "c"}}})
    assert [(t.run, t.task, t.logits) for t in config.teachers.values()] == [
        ("runs/t", None, True),
        ("runs/t", "c", True),
    ]
    assert DistillConfig.model_validate(config.model_dump(mode="json")) == config
    for wrong in (
        {},
        {"teachers": {}},
        {"teachers": {"a": "t"}, "hidden": "uniformly"},
        {"teachers": {"a": "t"}, "T": 2},
    ):
        with pytest.raises(ValidationError):
            DistillConfig.model_validate(wrong)
    with pytest.raises(ValidationError, match=r"tasks\.NAME\.soft: {alpha: annealed}"):
        DistillConfig.model_validate({"teachers": {"a": "t"}, "annealing": True})


def test_rows_count_by_their_tokens_mean() -> None:
    torch.manual_seed(0)
    cu, ours, theirs = torch.tensor([0, 2, 5]), torch.randn(5, 4), torch.randn(5, 4)
    matching = Matching(HiddenConfig(embeddings=False, weight=3.0), [(1, 2)], 4, 4)
    assert not list(matching.parameters())
    found = matching((ours * 0, ours), (theirs * 0, theirs * 0, theirs), cu)
    expected = [3.0 * F.mse_loss(ours[a:b], theirs[a:b]) for a, b in ((0, 2), (2, 5))]
    torch.testing.assert_close(found, torch.stack(expected))


def test_the_cosine_is_distilberts() -> None:
    cu, ours, theirs = torch.tensor([0, 5]), torch.randn(5, 4), torch.randn(5, 4)
    matching = Matching(HiddenConfig(embeddings=False, loss="cosine"), [(1, 1)], 4, 4)
    reference = torch.nn.CosineEmbeddingLoss()(ours, theirs, torch.ones(5))
    torch.testing.assert_close(matching((ours, ours), (theirs, theirs), cu), reference[None])


def test_widths_that_differ_are_mapped_once_for_layers_and_once_for_embeddings() -> None:
    matching = Matching(HiddenConfig(), [(0, 0), (1, 1), (2, 2)], 3, 5)
    assert {name: tuple(weight.shape) for name, weight in matching.named_parameters() if "weight" in name} == {
        "layers.weight": (5, 3),
        "embeddings.weight": (5, 3),
    }
    student, teacher = [torch.randn(4, 3) for _ in range(3)], [torch.randn(4, 5) for _ in range(3)]
    matching(student, teacher, torch.tensor([0, 4])).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in matching.parameters())
