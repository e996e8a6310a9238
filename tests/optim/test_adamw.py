"""AdamW by rows gives what torch's AdamW gives, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from braid.optim import adamw
from braid.optim.adamw import AdamW, keep_rows

V, D = 4500, 6


class Reader(nn.Module):
    """A table, and a weight that every step moves."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(V, D)
        self.linear = nn.Linear(D, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.linear(self.table(ids).tanh()).square().sum()


def pair() -> tuple[Reader, Reader]:
    torch.manual_seed(1)
    one = Reader()
    other = copy.deepcopy(one)
    keep_rows(other)
    return one, other


def groups(model: Reader, decay: float) -> list[dict[str, object]]:
    return [{"params": [model.table.weight], "weight_decay": decay}, {"params": [*model.linear.parameters()]}]


def batch(step: int, *, most: int = 400) -> torch.Tensor:
    return torch.randint(most, (30,), generator=torch.Generator().manual_seed(step))


def run(model: Reader, optimizer: torch.optim.Optimizer, steps: range, *, most: int = 400) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        for part in batch(step, most=most).chunk(2):  # two parts of a batch: gradients add up
            model(part).backward()
        optimizer.step()
        optimizer.zero_grad()


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_weights_are_those_of_torch(decay: float) -> None:
    plain, rows = pair()
    run(plain, torch.optim.AdamW(groups(plain, decay), lr=1e-2, fused=True), range(30))
    run(rows, AdamW(groups(rows, decay), lr=1e-2), range(30))
    assert_equal(plain, rows)


def test_settled_moments_are_those_of_torch_and_go_on_from_them() -> None:
    plain, rows = pair()
    theirs = torch.optim.AdamW(groups(plain, 0.1), lr=1e-2, fused=True)
    ours = AdamW(groups(rows, 0.1), lr=1e-2)
    run(plain, theirs, range(5))
    run(rows, ours, range(5))
    assert set(ours.state[rows.table.weight]) == {"step"}  # a table's moments are held by rows
    ours.settle()
    for key, value in theirs.state[plain.table.weight].items():
        assert torch.equal(value, ours.state[rows.table.weight][key]), key
    resumed = copy.deepcopy(rows)
    again = AdamW(groups(resumed, 0.1), lr=1e-2)
    again.state[resumed.table.weight].update(copy.deepcopy(dict(ours.state[rows.table.weight])))
    for old, new in zip(rows.linear.parameters(), resumed.linear.parameters(), strict=True):
        again.state[new].update(copy.deepcopy(dict(ours.state[old])))
    for model, optimizer in ((plain, theirs), (rows, ours), (resumed, again)):
        run(model, optimizer, range(5, 12))
    assert_equal(plain, rows)
    assert_equal(plain, resumed)


def test_a_table_of_which_most_rows_are_touched_becomes_an_ordinary_weight() -> None:
    plain, rows = pair()
    run(plain, torch.optim.AdamW(groups(plain, 0.1), lr=1e-2, fused=True), range(200), most=V)
    ours = AdamW(groups(rows, 0.1), lr=1e-2)
    run(rows, ours, range(200), most=V)
    assert_equal(plain, rows)
    assert "exp_avg" in ours.state[rows.table.weight]


def test_an_ordinary_weight_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows = pair()
    ours = AdamW(groups(rows, 0.1), lr=1e-2)
    run(rows, ours, range(200), most=V)

    def never(*given: object) -> None:
        raise AssertionError("a table was made")

    monkeypatch.setattr(adamw, "_Table", never)
    run(rows, ours, range(200, 203), most=V)


def test_a_dense_gradient_between_those_by_rows_is_taken_as_it_is() -> None:
    plain, rows = pair()
    theirs = torch.optim.AdamW(groups(plain, 0.1), lr=1e-2, fused=True)
    ours = AdamW(groups(rows, 0.1), lr=1e-2)
    for k in range(6):
        for model, optimizer in ((plain, theirs), (rows, ours)):
            loss = model(batch(k)) + (model.table.weight.square().sum() if k % 2 else 0)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert_equal(plain, rows)


def test_small_tables_are_left_alone() -> None:
    model = nn.Sequential(nn.Embedding(100, 4), nn.Embedding(5000, 4))
    keep_rows(model)
    assert [module.sparse for module in model] == [False, True]  # type: ignore[union-attr]
