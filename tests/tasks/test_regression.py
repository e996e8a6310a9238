import numpy as np
import pytest
import torch
import torch.nn.functional as F

from braid.data.example import Example, Window
from braid.data.packing import pack_ids, pack_targets
from braid.errors import LabelError
from braid.tasks.base import Hidden
from braid.tasks.regression import Regression

EXAMPLE = Example(text="a text")
NO_UNITS = np.empty((0, 2), np.int64)


def window(number=0):
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), int), NO_UNITS, 0, np.empty(0, np.int64), number)


def learn(labels, **options):
    return Regression(**options).learn(labels, [EXAMPLE] * len(labels))


def test_targets_are_scaled_by_the_training_mean_and_deviation():
    facts = learn([1, "3", 5.0])
    assert facts == pytest.approx({"mean": 3.0, "std": np.std([1, 3, 5])})
    target = Regression().encode("5", EXAMPLE, window(), facts)
    assert target["value"].dtype == np.float32
    assert target["value"].tolist() == pytest.approx([2 / np.std([1, 3, 5])])
    assert Regression().encode(5, EXAMPLE, window(number=1), facts) is None


def test_a_teachers_number_counts_beside_a_rows_own():
    facts = learn([{"value": 1, "logits": 1.5}, 3, {"logits": 5.0}], scale=False)
    assert facts == {"mean": 0.0, "std": 1.0, "soft": True}
    task = Regression(scale=False, soft={"alpha": 0.25})
    rows = [{"value": 1, "logits": 1.5}, 3, {"logits": 5.0}]
    made = [task.encode(row, EXAMPLE, window(), facts) for row in rows]
    assert [{key: values.tolist() for key, values in target.items()} for target in made] == [
        {"value": [1.0], "teacher": [1.5]},
        {"value": [3.0], "teacher": []},
        {"value": [5.0], "teacher": [5.0]},
    ]
    logits = torch.tensor([[2.0], [2.0], [2.0]])
    loss = task.make_head(facts, 8).loss(logits, pack_targets([0, 1, 2], made, count=3))
    assert loss.item() == pytest.approx(0.75 * 1 + 0.25 * 0.25 + 1 + 9)


def test_without_scale_targets_are_as_they_are():
    facts = learn([1, 3, 5], scale=False)
    assert Regression(scale=False).encode(5, EXAMPLE, window(), facts)["value"].tolist() == [5.0]


def test_a_constant_has_a_deviation_of_one():
    assert learn([0.1] * 7) == pytest.approx({"mean": 0.1, "std": 1.0})


@pytest.mark.parametrize("label", ["good", None, [1], {"other": 1}, {"value": "x"}, True, float("nan"), "inf", ""])
def test_what_is_no_number(label):
    with pytest.raises(LabelError):
        Regression().encode(label, EXAMPLE, window(), {"mean": 0.0, "std": 1.0})


def test_no_labels_at_all():
    with pytest.raises(LabelError, match="no training row"):
        learn([])


def test_loss_is_the_summed_squared_error_of_scaled_values():
    task, labels, logits = Regression(), [1.0, 2.0, 6.0], torch.randn(3, 1)
    facts = task.learn(labels, [EXAMPLE] * 3)
    targets = pack_targets(range(3), [task.encode(label, EXAMPLE, window(), facts) for label in labels], count=3)
    scaled = (torch.tensor(labels) - 3.0) / np.std(labels)
    expected = F.mse_loss(logits[:, 0], scaled.float(), reduction="sum")
    torch.testing.assert_close(task.make_head(facts, 4).loss(logits, targets), expected)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_head_gives_one_value_a_row(pooling):
    head = Regression(pooling=pooling).make_head({"mean": 0.0, "std": 1.0}, 8).eval()
    hidden = Hidden(torch.randn(6, 8), pack_ids([[1, 2], [3], [4, 5, 6]]))
    assert head(hidden, torch.tensor([0, 2])).shape == (2, 1)


def test_oracle_outputs_decode_to_the_gold_value():
    task, rows = Regression(), Regression.specimens(8)
    facts = task.learn([row["label"] for row in rows], [EXAMPLE] * 8)
    logits = [task.oracle(task.encode(row["label"], EXAMPLE, window(), facts), facts) for row in rows]
    meter = task.meter(facts)
    for value, row in zip(task.make_head(facts, 4).decode(logits, [EXAMPLE] * 8, [NO_UNITS] * 8), rows, strict=True):
        assert value.value == pytest.approx(row["label"], abs=1e-5)
        meter.update(value, task.gold(row["label"], EXAMPLE, NO_UNITS, facts))
    assert meter.compute() == pytest.approx({"pearson": 1.0, "spearman": 1.0, "mse": 0.0}, abs=1e-9)
    assert task.best(facts) == "pearson"
