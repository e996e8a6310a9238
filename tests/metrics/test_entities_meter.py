import warnings
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

from braid.metrics.entities import EntityMeter
from braid.metrics.tags import TagMeter

MARKS = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-Y"])
ROW = st.integers(1, 8).flatmap(
    lambda n: st.tuples(st.lists(MARKS, min_size=n, max_size=n), st.lists(MARKS, min_size=n, max_size=n))
)
ROWS = st.lists(ROW, min_size=1, max_size=8)


@dataclass
class Said:
    tags: list[str]


def fed(rows):
    meter = EntityMeter("bioes")
    for gold, said in rows:
        meter.update(Said(said), gold)
    return meter


@settings(max_examples=60)
@given(ROWS)
def test_figures_are_those_of_seqeval(rows):
    gold, said = [row[0] for row in rows], [row[1] for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "f1": f1_score(gold, said),
            "precision": precision_score(gold, said),
            "recall": recall_score(gold, said),
            "accuracy": accuracy_score(gold, said),
            # Where nobody marks any span, seqeval's macro average is the mean of nothing; ours is 0.
            "macro_f1": f1_score(gold, said, average="macro") if fed(rows).table() else 0.0,
        }
    assert fed(rows).compute() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(ROWS, ROWS)
def test_merging_is_feeding_one_meter(first, second):
    merged = fed(first)
    merged.merge(fed(second))
    assert merged.compute() == fed(first + second).compute()
    assert merged.table() == fed(first + second).table()


def test_the_table_is_by_type():
    meter = fed([(["B-X", "I-X", "O", "B-Y"], ["B-X", "I-X", "B-X", "O"])])
    assert meter.table() == [
        {"label": "X", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        {"label": "Y", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]
    assert next(iter(meter.compute())) == "f1"


def test_nothing_seen_gives_zeros():
    assert set(fed([]).compute().values()) == {0.0}


def test_plain_tags_count_units():
    meter, other = TagMeter(["NN", "VV"]), TagMeter(["NN", "VV"])
    meter.update(Said(["NN", "VV"]), ["NN", "NN"])
    other.update(Said(["VV"]), ["VV"])
    meter.merge(other)
    assert meter.compute() == pytest.approx({"accuracy": 2 / 3, "macro_f1": 2 / 3})
    assert next(iter(meter.compute())) == "accuracy"
    assert [row["support"] for row in meter.table()] == [2, 1]
