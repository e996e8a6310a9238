from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from braid.metrics.classification import ClassificationMeter

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40)


@dataclass
class Said:
    label: str


def fed(pairs, labels="abcde"):
    meter = ClassificationMeter(list(labels))
    for gold, said in pairs:
        meter.update(Said(said), gold)
    return meter


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_figures_are_those_of_scikit_learn(pairs):
    gold, said = zip(*pairs, strict=True)
    assert fed(pairs).compute() == pytest.approx(
        {
            "accuracy": accuracy_score(gold, said),
            "macro_f1": f1_score(gold, said, average="macro", zero_division=0),
            "micro_f1": f1_score(gold, said, average="micro", zero_division=0),
            "mcc": matthews_corrcoef(gold, said),
        },
        abs=1e-12,
    )


@settings(max_examples=40, deadline=None)
@given(PAIRS, PAIRS)
def test_merging_is_feeding_one_meter(first, second):
    merged = fed(first)
    merged.merge(fed(second))
    assert merged.compute() == fed(first + second).compute()
    assert merged.table() == fed(first + second).table()


def test_the_first_metric_is_accuracy_and_an_empty_meter_gives_zeros():
    assert fed([]).compute() == {"accuracy": 0.0, "macro_f1": 0.0, "micro_f1": 0.0, "mcc": 0.0}
    assert next(iter(fed([]).compute())) == "accuracy"
    assert fed([]).table() == []


def test_the_table_has_the_inventory_and_whatever_else_appeared():
    table = fed([("a", "a"), ("a", "b"), ("z", "a")], labels="ba").table()
    assert table == [
        {"label": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        {"label": "a", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"label": "z", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]
