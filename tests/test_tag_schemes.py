import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from braid.data.tag_schemes import (
    begins_inside,
    complete,
    detect_scheme,
    fits,
    illegal_positions,
    legal,
    spans_of,
    tags_of,
)
from braid.errors import LabelError

MARKS = ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"]
WRITTEN = st.sampled_from(["bio", "bioes", "bmes"])


@st.composite
def cut(draw):
    """Disjoint spans of a sequence, and its length."""
    spans, at = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = at + draw(st.integers(0, 2))
        at = start + draw(st.integers(1, 4))
        spans.append((start, at, draw(st.sampled_from(["X", "Y-Z"]))))
    return spans, at + draw(st.integers(0, 2))


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-LOC", "I-LOC"], "bio"),
        (["O", "I-LOC"], "bio"),
        (["O", "B-PER"], "bio"),
        (["B", "I", "O"], "bio"),
        (["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], "bioes"),
        (["O", "B-LOC", "E-LOC", "S-LOC"], "bioes"),
        (["O", "B-LOC", "I-LOC", "L-LOC", "U-LOC"], "bioes"),
        (["O", "B-LOC", "M-LOC", "E-LOC", "S-LOC"], "bmes"),
        (["B", "M", "E", "S"], "bmes"),
        (["B", "E", "S"], "bmes"),
        (["B-NN", "M-NN", "E-NN", "S-VV"], "bmes"),
        (["NN", "VV"], "plain"),
        (["O", "B-LOC", "LOC"], "plain"),
        (["B", "B-LOC"], "plain"),
        (["B-X", "I-X", "M-X"], "plain"),
        ([], "plain"),
    ],
)
def test_an_inventory_tells_its_scheme(labels, scheme):
    assert detect_scheme(labels) == scheme


@given(st.lists(st.sampled_from(MARKS), max_size=12))
def test_ill_formed_tags_are_read_as_seqeval_reads_them(tags):
    expected = [(start, end + 1, label) for label, start, end in get_entities(tags)]
    assert spans_of(tags, "bioes") == expected
    assert spans_of([tag.replace("I-", "M-") for tag in tags], "bmes") == expected


@given(st.lists(st.sampled_from("BMES"), min_size=1, max_size=12))
def test_untyped_tags_cut_the_whole_sequence_into_words(tags):
    spans = spans_of(tags, "bmes")
    assert [unit for start, end, _ in spans for unit in range(start, end)] == list(range(len(tags)))
    assert {label for *_, label in spans} == {""}


@given(cut(), WRITTEN)
def test_spans_survive_being_written_as_tags(case, scheme):
    spans, n = case
    tags = tags_of(spans, n, scheme)
    assert len(tags) == n
    assert spans_of(tags, scheme) == spans
    assert illegal_positions(tags, scheme) == []


@given(st.lists(st.sampled_from(MARKS), min_size=1, max_size=8), st.sampled_from(["bio", "bioes"]))
def test_tags_are_legal_exactly_if_they_are_what_their_spans_are_written_as(tags, scheme):
    tags = [tag for tag in tags if fits(tag, scheme)]
    assert (not illegal_positions(tags, scheme)) == (tags_of(spans_of(tags, scheme), len(tags), scheme) == tags)


def test_positions_of_illegal_tags():
    assert illegal_positions(["I-X", "B-X", "I-Y", "O"], "bio") == [0, 2]
    assert illegal_positions(["B-X", "O", "B-X"], "bioes") == [1, 2]
    assert illegal_positions(["B", "M", "S", "B", "E"], "bmes") == [2]
    assert illegal_positions(["NN", "I-X"], "plain") == []
    assert legal("I-X", "I-X", "bio")
    assert not legal("I-X", "I-Y", "bio")
    assert not legal("B-X", "O", "bioes")


@pytest.mark.parametrize(
    ("spans", "what"),
    [
        ([(0, 3, "X"), (1, 2, "Y")], "overlaps"),
        ([(0, 2, "X"), (1, 3, "Y")], "overlaps"),
        ([(1, 1, "X")], "empty"),
        ([(2, 5, "X")], "outside"),
    ],
)
def test_spans_that_no_tags_can_hold(spans, what):
    with pytest.raises(LabelError, match=what):
        tags_of(spans, 4, "bio")


def test_plain_tags_are_spans_of_one_unit():
    assert spans_of(["NN", "VV"], "plain") == [(0, 1, "NN"), (1, 2, "VV")]
    assert tags_of([(0, 1, "NN"), (1, 2, "VV")], 2, "plain") == ["NN", "VV"]
    with pytest.raises(LabelError, match="unit 1 has no tag"):
        tags_of([(0, 1, "NN")], 2, "plain")


def test_bilou_is_bioes_in_other_letters():
    assert spans_of(["B-X", "L-X", "U-X", "U-Y"], "bioes") == [(0, 2, "X"), (2, 3, "X"), (3, 4, "Y")]
    assert complete(["O", "U-X"], "bioes") == ["O", "B-X", "I-X", "L-X", "U-X"]


def test_an_inventory_is_completed_in_a_fixed_order():
    assert complete(["B-b", "I-a", "O"], "bio") == ["O", "B-a", "I-a", "B-b", "I-b"]
    assert complete(["S", "B"], "bmes") == ["B", "M", "E", "S"]
    assert complete(["VV", "NN"], "plain") == ["NN", "VV"]


def test_iob1_shows_by_entities_that_begin_inside():
    assert begins_inside(["I-X", "I-X", "O", "I-Y", "B-Y", "B-X"]) == (2, 3)
    assert begins_inside(["O"]) == (0, 0)
