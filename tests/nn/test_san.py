"""The stochastic answer network: steps of reading a premise with a hypothesis in mind."""

from __future__ import annotations

import pytest
import torch

from braid.data.packing import pack_ids
from braid.errors import BraidError
from braid.nn.san import San

ROWS = [[1, 2, 3, 4, 5], [1, 6, 7], [1, 2, 3, 4]]
SEGMENTS = [[0, 0, 0, 1, 1], [0, 1, 1], [0, 0, 0, 0]]


def hidden() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(12, 8)


def san(**options: float) -> San:
    torch.manual_seed(1)
    return San(8, 3, **{"steps": 5, "dropout": 0.0, "prediction_dropout": 0.0, **options})  # type: ignore[arg-type]


def test_each_row_is_read_by_itself_and_gives_a_distribution() -> None:
    states, net = hidden(), san()
    together = net(states, pack_ids(ROWS, SEGMENTS), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(together.exp().sum(1), torch.ones(3))
    at = 0
    for number, (row, segments) in enumerate(zip(ROWS[:2], SEGMENTS[:2], strict=True)):
        alone = net(states[at : at + len(row)], pack_ids([row], [segments]), torch.tensor([0]))
        torch.testing.assert_close(together[number : number + 1], alone)
        at += len(row)


def test_one_step_is_the_formula_of_the_paper() -> None:
    states, net = hidden()[:5], san(steps=1)
    premise, hypothesis = states[:3], states[3:]
    state = (net.summary(hypothesis).softmax(0) * hypothesis).sum(0)
    read = (premise @ net.attention(state)).softmax(0) @ premise
    logits = net.classifier(torch.cat([state, read, (state - read).abs(), state * read]))
    found = net(states, pack_ids(ROWS[:1], SEGMENTS[:1]), torch.tensor([0]))
    torch.testing.assert_close(found[0], logits.log_softmax(0))


def test_predictions_are_dropped_in_training_only_and_never_all() -> None:
    states, batch, net = hidden(), pack_ids(ROWS, SEGMENTS), san(prediction_dropout=0.95)
    rows = torch.tensor([0, 1])
    found = {tuple(net(states, batch, rows)[0].tolist()) for _ in range(20)}
    assert len(found) > 1
    assert all(torch.isfinite(torch.tensor(row)).all() for row in found)
    net.eval()
    torch.testing.assert_close(net(states, batch, rows), net(states, batch, rows))


def test_texts_without_pairs_are_refused() -> None:
    with pytest.raises(BraidError, match="needs pairs"):
        san()(hidden(), pack_ids(ROWS), torch.tensor([0]))
