"""The multilabel meter against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from braid.metrics.multilabel import MultilabelMeter
from braid.tasks.multilabel import Labels

NAMES = ["a", "b", "c", "d", "e"]


def random_rows(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.random((n, 5)) < [0.5, 0.3, 0.1, 0.02, 0.0]
    scores = np.clip(0.4 * gold + 0.6 * rng.random((n, 5)), 0, 1)
    return gold, scores, scores > 0.5


def filled(gold: np.ndarray, scores: np.ndarray, said: np.ndarray) -> MultilabelMeter:
    meter = MultilabelMeter(NAMES)
    for row in range(len(gold)):
        labels = [name for name, yes in zip(NAMES, said[row], strict=True) if yes]
        meter.update(
            Labels(labels, dict(zip(NAMES, scores[row].tolist(), strict=True))),
            [name for name, yes in zip(NAMES, gold[row], strict=True) if yes],
        )
    return meter


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    gold, scores, said = random_rows(seed)
    found = filled(gold, scores, said).compute()
    there = gold.any(axis=0)
    assert found == pytest.approx(
        {
            "micro_f1": f1_score(gold, said, average="micro", zero_division=0),
            "macro_f1": f1_score(gold, said, average="macro", zero_division=0),
            "map": average_precision_score(gold[:, there], scores[:, there], average="macro"),
            "subset_accuracy": (gold == said).all(axis=1).mean(),
        }
    )


def test_parts_merge_and_labels_unseen_in_training_are_errors() -> None:
    gold, scores, said = random_rows(7)
    whole, part = filled(gold, scores, said), filled(gold[:50], scores[:50], said[:50])
    part.merge(filled(gold[50:], scores[50:], said[50:]))
    assert part.compute() == pytest.approx(whole.compute())
    meter = MultilabelMeter(["a"])
    meter.update(Labels(["a"], {"a": 0.9}), ["a", "new"])
    assert meter.compute()["micro_f1"] == pytest.approx(2 / 3)
    assert [row["label"] for row in meter.table()] == ["a", "new"]


def test_nothing_is_zero() -> None:
    assert set(MultilabelMeter(NAMES).compute().values()) == {0.0}
    assert MultilabelMeter(NAMES).table() == []
