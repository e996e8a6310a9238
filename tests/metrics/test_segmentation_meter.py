import difflib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.metrics.segmentation import SegmentationMeter

ROW = st.integers(1, 15).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("BMES"), min_size=n, max_size=n),
        st.lists(st.sampled_from("BMES"), min_size=n, max_size=n),
    )
)


@dataclass
class Said:
    tags: list[str]


def fed(rows):
    meter = SegmentationMeter()
    for gold, said in rows:
        meter.update(Said(said), gold)
    return meter


def words(tags):
    """The words of a text of distinct characters, cut before B and S and after E and S."""
    out = []
    for at, tag in enumerate(tags):
        character = chr(ord("a") + at)
        if at == 0 or tag in "BS" or tags[at - 1] in "ES":
            out.append(character)
        else:
            out[-1] += character
    return out


def score_script(rows):
    """The counts of the bakeoff's Perl script: `diff` of the two word lists, right = gold words - those that `diff`
    deletes or changes."""
    gold_words = said_words = right = 0
    for gold, said in rows:
        a, b = words(gold), words(said)
        gold_words, said_words = gold_words + len(a), said_words + len(b)
        blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
        right += len(a) - sum(end - start for kind, start, end, _, _ in blocks if kind in ("delete", "replace"))
    recall, precision = right / gold_words, right / said_words
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"f1": f1, "precision": precision, "recall": recall}


@given(st.lists(ROW, min_size=1, max_size=6))
def test_figures_are_those_of_the_bakeoff_script(rows):
    figures = fed(rows).compute()
    del figures["accuracy"]
    assert figures == pytest.approx(score_script(rows), abs=1e-12)


def test_a_case_by_hand():
    # gold: ab c de (3 words); said: ab cd e (3 words); right: ab
    figures = fed([(list("BESBE"), list("BEBES"))]).compute()
    assert figures == pytest.approx({"f1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3, "accuracy": 2 / 5})


def test_rows_of_different_word_counts():
    # gold: a b c; said: abc. Then gold: ab; said: ab.
    figures = fed([(list("SSS"), list("BME")), (list("BE"), list("BE"))]).compute()
    assert figures == pytest.approx({"f1": 1 / 3, "precision": 1 / 2, "recall": 1 / 4, "accuracy": 2 / 5})


@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4))
def test_merging_is_feeding_one_meter(first, second):
    merged = fed(first)
    merged.merge(fed(second))
    assert merged.compute() == fed(first + second).compute()
