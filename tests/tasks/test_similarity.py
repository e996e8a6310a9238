"""similarity: losses over pairs, wherever their rows stand; embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from braid.data.example import Example, Window
from braid.data.groups import make_batch
from braid.data.packing import pack_targets
from braid.data.windows import NO_UNITS
from braid.errors import LabelError
from braid.model.evaluate import evaluate
from braid.tasks.similarity import SimilarityTask
from tiny import task_losses

PAIRS = [Example("a", "b"), Example("c", "d", options=("n", "m")), Example("e", "f")]
LABELS = [5, 5, 0]
ROWS = [(0, 0), (1, 2), (1, 0), (2, 1), (0, 1), (1, 1), (2, 0), (1, 3)]
"""(example, part) in the order of the batch."""


def window(number: int) -> Window:
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), np.int32), NO_UNITS, 0, np.empty(0, np.int64), number)


def loss_of(vectors: dict[tuple[int, int], torch.Tensor], **options: Any) -> tuple[torch.Tensor, int]:
    task = SimilarityTask(**options)
    facts = task.learn(LABELS, PAIRS)
    targets = [task.encode(LABELS[e], PAIRS[e], window(part), facts) for e, part in ROWS]
    count = sum(task.count(target) for target in targets if target is not None)
    packed = pack_targets(range(len(ROWS)), targets, count=count, examples=[e for e, _ in ROWS])  # type: ignore[arg-type]
    return task.make_head(facts, 4).loss(torch.stack([vectors[row] for row in ROWS]), packed), count


@pytest.fixture
def vectors() -> dict[tuple[int, int], torch.Tensor]:
    torch.manual_seed(0)
    return {row: torch.randn(4) for row in ROWS}


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(a, b, dim=0)


def test_cosine_is_compared_with_the_scaled_label(vectors: dict[tuple[int, int], torch.Tensor]) -> None:
    expected = sum((cosine(vectors[e, 0], vectors[e, 1]) - value) ** 2 for e, value in enumerate((1.0, 1.0, 0.0)))
    loss, count = loss_of(vectors)
    torch.testing.assert_close(loss, expected)
    assert count == 3


def test_contrastive_pairs_search_among_all_seconds_and_negatives(
    vectors: dict[tuple[int, int], torch.Tensor],
) -> None:
    candidates = [(0, 1), (1, 1), (2, 1), (1, 2), (1, 3)]
    expected = torch.zeros(())
    for anchor in (0, 1):
        scores = torch.stack([cosine(vectors[anchor, 0], vectors[row]) for row in candidates]) / 0.05
        expected = expected - scores.log_softmax(0)[anchor]
    loss, count = loss_of(vectors, loss="contrastive")
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    assert count == 2


def test_triplets_take_the_own_negatives_or_the_hardest_of_the_batch(
    vectors: dict[tuple[int, int], torch.Tensor],
) -> None:
    near = [cosine(vectors[e, 0], vectors[e, 1]) for e in range(2)]
    far0 = max(cosine(vectors[0, 0], vectors[1, 1]), cosine(vectors[0, 0], vectors[2, 1]))
    far1 = max(cosine(vectors[1, 0], vectors[1, 2]), cosine(vectors[1, 0], vectors[1, 3]))
    expected = (0.2 - near[0] + far0).clamp(min=0) + (0.2 - near[1] + far1).clamp(min=0)
    loss, count = loss_of(vectors, loss="triplet")
    torch.testing.assert_close(loss, expected)
    assert count == 2


@pytest.mark.parametrize("options", [{"loss": "regression"}, {"dimensions": 6}, {"loss": "triplet", "margin": 0.5}])
def test_each_loss_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens("similarity")]
    specs = tiny.specs_of({"t": tiny.task_of("similarity", **options)}, {"t": examples})
    tokenizer = tiny.tokenizer_of(examples)
    model = tiny.model_of(tokenizer, specs).train()
    group = tiny.group_of(specs, examples, tokenizer)
    batch = make_batch([group], [(0, row) for row in group.rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = task_losses(model, batch, model(batch))["t"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    if options != {"loss": "triplet", "margin": 0.5}:
        assert evaluate(model, [group])["t"]["spearman"] > 0.95


def test_texts_without_pairs_are_learned_from_by_dropout() -> None:
    torch.manual_seed(0)
    task = tiny.task_of("similarity", loss="contrastive")
    examples = [Example(f"text number {k}", labels={"t": task.default_label}) for k in range(6)]
    specs = tiny.specs_of({"t": task}, {"t": examples})
    assert specs["t"].facts["varied"] is False
    assert task.best(specs["t"].facts) == "recall_at_1"
    tokenizer = tiny.tokenizer_of(examples)
    model = tiny.model_of(tokenizer, specs, dropout=0.3).train()
    group = tiny.group_of(specs, examples, tokenizer)
    batch = make_batch([group], [(0, row) for row in group.rows])
    assert batch.n_rows == 12
    assert batch.targets["t"].count == 6
    loss = task_losses(model, batch, model(batch))["t"]
    assert torch.isfinite(loss)
    assert loss > 0
    assert evaluate(model, [group])["t"]["recall_at_1"] == 1.0


def test_labels_and_inputs_that_do_not_fit() -> None:
    assert "pair" in str(SimilarityTask().fits(Example("a")))
    assert SimilarityTask(loss="contrastive").fits(Example("a")) is None
    assert SimilarityTask().default_label is None
    with pytest.raises(LabelError, match="number"):
        SimilarityTask().learn(["close"], PAIRS[:1])
    with pytest.raises(LabelError, match="no training row"):
        SimilarityTask().learn([], [])


def test_predictions_say_what_the_cosine_means() -> None:
    facts = SimilarityTask().learn([0, 5], PAIRS[:2])
    vectors = np.array([[1.0, 0.0, 0, 0], [0.6, 0.8, 0, 0]], np.float32)
    (found,) = SimilarityTask().make_head(facts, 4).decode([vectors], PAIRS[:1], [NO_UNITS])
    assert found.to_json() == {"cosine": pytest.approx(0.6), "value": pytest.approx(3.0)}
