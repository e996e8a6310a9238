import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from braid.data.example import Example, Window
from braid.data.packing import pack_ids, pack_targets
from braid.data.units import join_words, split_characters, split_words
from braid.errors import LabelError
from braid.metrics.entities import EntityMeter
from braid.metrics.segmentation import SegmentationMeter
from braid.metrics.tags import TagMeter
from braid.tasks.base import Hidden
from braid.tasks.tagging import Span, Tagging

BIO = {"labels": ["O", "B-X", "I-X"], "scheme": "bio", "units": "words", "spans": False, "iob1": False}


def of_words(*words):
    return Example(text=join_words(words)[0], words=words)


def units_of(example, facts):
    if example.words is not None:
        return join_words(example.words)[1]
    return (split_words if facts["units"] == "words" else split_characters)(example.text)


def window(units, first=0, last=None):
    n = (len(units) if last is None else last) - first
    return Window(np.arange(n), np.zeros(n, int), units[first:last], units, first, np.arange(n))


def learn(rows, **options):
    return Tagging(**options).learn([label for label, _ in rows], [example for _, example in rows])


def span(start, end, label, **more):
    return {"start": start, "end": end, "label": label, **more}


PARIS = Example(text="in New York today")


# ------------------------------------------------------------------ learning


def test_tags_of_words_tell_inventory_scheme_and_units():
    rows = [(["O", "B-LOC"], of_words("to", "Rome")), (["I-PER"], of_words("Bo")), (["B-LOC"] * 2, of_words("A", "B"))]
    assert learn(rows) == {
        "labels": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
        "scheme": "bio",
        "units": "words",
        "spans": False,
        "iob1": False,
        "soft": False,
    }


def test_words_of_one_character_are_characters():
    facts = learn([(["B", "E", "S"], of_words("上", "海", "人"))])
    assert (facts["labels"], facts["scheme"], facts["units"]) == (["B", "M", "E", "S"], "bmes", "characters")


def test_plain_tags_have_no_scheme():
    facts = learn([(["VV", "NN"], of_words("see", "Rome"))])
    assert (facts["labels"], facts["scheme"]) == (["NN", "VV"], "plain")


def test_a_few_spans_that_cut_words_are_mistakes_and_named():
    rows = [([span(3, end, "LOC")], Example(text="in New York")) for end in [11] * 19 + [9]]
    facts = learn(rows)
    assert facts["units"] == "words"
    with pytest.raises(LabelError, match="use `units: characters`"):
        Tagging().gold(rows[-1][0], rows[-1][1], split_words("in New York"), facts)
    assert learn([rows[0], rows[-1]])["units"] == "characters"


@pytest.mark.parametrize(
    ("text", "label", "units"),
    [("in New York", span(3, 11, "LOC"), "words"), ("unhappy", span(0, 2, "NEG"), "characters")],
)
def test_spans_are_of_words_where_no_word_is_cut(text, label, units):
    facts = learn([([label], Example(text=text)), ([], Example(text="none"))])
    assert (facts["units"], facts["scheme"], facts["spans"]) == (units, "bio", True)
    assert facts["labels"] == ["O", f"B-{label['label']}", f"I-{label['label']}"]


def test_tags_of_a_bare_text_are_of_what_they_match_in_number():
    assert learn([(["O", "B-X"], Example(text="to Rome"))])["units"] == "words"
    assert learn([(["O", "B-X"], Example(text="hi"))])["units"] == "characters"


def test_options_overrule_what_the_data_shows():
    rows = [([span(3, 11, "LOC")], Example(text="in New York"))]
    facts = learn(rows, units="characters", scheme="bioes")
    assert facts["units"] == "characters"
    assert facts["labels"] == ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"]
    assert learn([(["B-X"], of_words("a"))], scheme="plain")["labels"] == ["B-X"]


def test_given_labels_are_tags_or_types():
    rows = [([span(3, 11, "LOC")], Example(text="in New York"))]
    assert learn(rows, labels=["PER", "LOC"])["labels"] == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert learn(rows, labels=["B-LOC", "I-LOC", "O"])["labels"] == ["B-LOC", "I-LOC", "O"]
    assert learn([(["B-X"], of_words("a"))], labels=["I-X", "B-X", "O"])["labels"] == ["I-X", "B-X", "O"]


@pytest.mark.parametrize(
    ("rows", "options", "what"),
    [
        ([], {}, "no training row has a label"),
        ([(["B-X"], of_words("a"))], {"labels": ["O", "B-Y", "I-X"]}, "`labels:` lacks 'B-X'"),
        ([([span(0, 1, "LOC")], Example(text="a"))], {"labels": ["PER"]}, "`labels:` lacks 'LOC'"),
        ([(["B-X"], of_words("a"))], {"labels": ["B-X", "B-X"]}, "twice"),
        ([(["NN"], of_words("a"))], {"scheme": "bio"}, "'NN' is none of scheme 'bio'"),
        ([([span(0, 1, "X")], Example(text="a"))], {"scheme": "plain"}, "plain tags cannot mark"),
        (
            [(["O"], of_words("a")), ([span(0, 1, "X")], Example(text="a"))],
            {},
            "this row carries spans, rows before it carry tags",
        ),
        ([("O O B-LOC", of_words("a", "b", "c"))], {}, "source: uer_ner"),
        ([(["O"], of_words("a", "b"))], {}, "1 tags for 2 words"),
        ([({"LOC": [1]}, of_words("a"))], {}, "expected 'tags'"),
        ([(["O", {"start": 1}], of_words("a", "b"))], {}, "mixes tags and spans"),
        ([([[0, 1, "LOC"]], of_words("a"))], {}, "holds lists; expected tags, or spans such as"),
        ([([span(0, 2, "X"), span(1, 3, "Y")], Example(text="abc"))], {}, "overlap"),
    ],
)
def test_labels_that_cannot_be_learned_from(rows, options, what):
    with pytest.raises(LabelError, match=what):
        learn(rows, **options)


def test_iob1_is_read_as_what_it_means_and_written_as_bio():
    example = of_words("a", "b", "c", "d")
    facts = learn([(["I-X", "I-X", "B-X", "O"], example)])
    assert facts["iob1"]
    assert facts["labels"] == ["O", "B-X", "I-X"]
    assert Tagging().gold(["I-X", "I-X", "B-X", "O"], example, units_of(example, facts), facts) == [
        "B-X",
        "I-X",
        "B-X",
        "O",
    ]


# ------------------------------------------------------------------ encoding


def test_a_window_carries_the_tags_of_the_units_that_it_owns():
    example, task = of_words("a", "b", "c", "d"), Tagging()
    label, units = ["O", "B-X", "I-X", "O"], units_of(of_words("a", "b", "c", "d"), BIO)
    assert task.encode(label, example, window(units), BIO)["tags"].tolist() == [0, 1, 2, 0]
    part = task.encode(label, example, window(units, 1, 3), BIO)
    assert part["tags"].tolist() == [1, 2]
    assert part["tags"].dtype == np.int64
    assert task.count(part) == 2


def test_spans_become_tags_of_units():
    facts = {**BIO, "spans": True}
    units, task = split_words(PARIS.text), Tagging()
    assert task.gold([span(3, 11, "X")], PARIS, units, facts) == ["O", "B-X", "I-X", "O"]
    assert task.gold([span(2, 12, "X")], PARIS, units, facts) == ["O", "B-X", "I-X", "O"]
    assert task.gold([], PARIS, units, facts) == ["O"] * 4
    assert task.gold([span(0, 2, "X")], of_words("in", "York"), np.array([[0, 2], [3, 7]]), facts) == ["B-X", "O"]


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ([span(4, 11, "X")], "cuts through the word 'New'; use `units: characters`"),
        ([span(3, 9, "X")], "cuts through the word 'York'"),
        ([span(3, 3, "X")], "empty"),
        ([span(5, 3, "X")], "turned round"),
        ([span(12, 99, "X")], "outside the text"),
        ([span(2, 3, "X")], "nothing but spaces"),
        ([span(0, 6, "X"), span(3, 6, "X")], "nested"),
        ([span(3, 6, "X", text="York")], "says 'York'"),
        ([span(3.0, 6, "X")], "two integers"),
        ([{"start": 1, "end": 2}], "is no span"),
        ([span(3, 6, "Y")], "no training row has the label 'B-Y'"),
        (["O", "O"], "2 tags for 4 words"),
        (["O", "B-Z", "O", "O"], "'B-Z'.*did you mean"),
        ("O O O O", "source: uer_ner"),
    ],
)
def test_labels_that_do_not_fit_the_text(label, what):
    with pytest.raises(LabelError, match=what):
        Tagging().encode(label, PARIS, window(split_words(PARIS.text)), {**BIO, "spans": True})


def test_both_counts_of_a_mismatch_are_told():
    with pytest.raises(LabelError, match="3 tags for 2 words"):
        Tagging().encode(["O"] * 3, of_words("a", "b"), window(np.array([[0, 1], [2, 3]])), BIO)


def test_check_tells_of_illegal_tags():
    example = of_words("a", "b", "c")
    assert Tagging().check_label(["O", "I-X", "B-X"], example) == ["bio: 'I-X' at unit 1 after 'O'"]
    assert Tagging().check_label(["I-X", "O", "O"], example) == ["bio: 'I-X' at unit 0 after nothing"]
    assert Tagging().check_label(["B", "E", "B"], example) == ["bmes: 'B' at unit 2 after 'E', the last unit"]
    assert Tagging().check_label([span(0, 1, "X")], example) == []
    assert Tagging().check_label(["NN", "VV", "NN"], example) == []


def test_labels_are_described_by_tags_or_types():
    assert Tagging().describe_label(["O", "B-X"]) == ["O", "B-X"]
    assert Tagging().describe_label([span(0, 1, "X")]) == ["X"]


# ------------------------------------------------------------------ head and loss


def packed():
    """Rows of 3, 1 and 2 units; the second of no words at all in between."""
    batch = pack_ids([[1, 2, 3, 4], [5, 6], [7], [8, 9, 10]])
    words, cu = torch.tensor([1, 2, 3, 5, 8, 9]), torch.tensor([0, 3, 4, 4, 6])
    return replace(batch, words=words, cu_words=cu)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 3], [2], [3, 1]])
def test_logits_are_those_of_the_first_pieces_of_the_rows_units(rows):
    head, hidden = Tagging().make_head(BIO, 8).eval(), torch.randn(10, 8)
    places = [[1, 2, 3], [5], [], [8, 9]]
    index = torch.tensor([place for row in rows for place in places[row]], dtype=torch.int64)
    logits = head(Hidden(hidden, packed()), torch.tensor(rows))
    torch.testing.assert_close(logits, head.classifier(hidden[index]))


def test_loss_is_the_summed_cross_entropy_of_units():
    head, logits = Tagging().make_head(BIO, 8), torch.randn(5, 3)
    targets = pack_targets([0, 3], [{"tags": np.array([0, 1, 2])}, {"tags": np.array([1, 0])}], count=5)
    expected = F.cross_entropy(logits, torch.tensor([0, 1, 2, 1, 0]), reduction="sum")
    torch.testing.assert_close(head.loss(logits, targets), expected)


def test_with_a_crf_the_loss_is_that_of_each_row():
    head, logits = Tagging(crf=True).make_head(BIO, 8), torch.randn(5, 3)
    rows = [{"tags": np.array([0, 1, 2])}, {"tags": np.array([1, 0])}]
    together = head.loss(logits, pack_targets([0, 3], rows, count=5))
    alone = head.loss(logits[:3], pack_targets([0], rows[:1], count=3)) + head.loss(
        logits[3:], pack_targets([0], rows[1:], count=2)
    )
    torch.testing.assert_close(together, alone)
    together.backward()
    assert torch.isfinite(head.crf.transitions.grad).all()


# ------------------------------------------------------------------ decoding


def test_predictions_carry_offsets_into_the_users_text():
    logits = np.log(np.array([[8, 1, 1], [1, 8, 1], [1, 3, 6], [8, 1, 1]], np.float32))
    (tags,) = Tagging().make_head(BIO, 8).decode([logits], [PARIS], [split_words(PARIS.text)])
    assert tags.tags == ["O", "B-X", "I-X", "O"]
    assert tags.spans == [Span(3, 11, "New York", "X", pytest.approx(0.7))]
    assert tags.to_json()["spans"][0]["text"] == "New York"


def test_with_a_crf_a_span_is_as_sure_as_its_tags_are_among_all_legal_sequences():
    """The transitions say what the emissions do not."""
    head = Tagging(crf=True).make_head(BIO, 8)
    with torch.no_grad():
        head.crf.start.zero_()
        head.crf.end.zero_()
        head.crf.transitions.copy_(torch.tensor([[0.0, 0.0, 0.0], [-9.0, -9.0, 9.0], [9.0, -9.0, -9.0]]))
    logits = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    pairs = head.crf.transitions.tolist()
    powers = {
        path: math.exp(sum(logits[at, k] for at, k in enumerate(path)) + sum(pairs[a][b] for a, b in pairwise(path)))
        for path in product(range(3), repeat=4)
        if path[0] != 2 and (0, 2) not in pairwise(path)
    }
    chances = [sum(p for path, p in powers.items() if path[at] == at) / sum(powers.values()) for at in (1, 2)]
    (tags,) = head.decode([logits], [PARIS], [split_words(PARIS.text)])
    assert tags.spans == [Span(3, 11, "New York", "X", pytest.approx(sum(chances) / 2, abs=1e-6))]
    assert tags.spans[0].score > 0.9


def test_words_of_a_segmentation_are_spans_without_a_label():
    facts = {**BIO, "labels": ["B", "M", "E", "S"], "scheme": "bmes", "units": "characters"}
    task, example = Tagging(), Example(text="上海 人")
    oracle = task.oracle({"tags": np.array([0, 2, 3])}, facts)
    (tags,) = task.make_head(facts, 8).decode([oracle], [example], [split_characters(example.text)])
    assert [(s.start, s.end, s.text, s.label) for s in tags.spans] == [(0, 2, "上海", ""), (3, 4, "人", "")]


def test_plain_tags_are_spans_of_their_units():
    facts = {**BIO, "labels": ["NN", "VV"], "scheme": "plain"}
    task, example = Tagging(), of_words("see", "Rome")
    (tags,) = task.make_head(facts, 8).decode(
        [task.oracle({"tags": np.array([1, 0])}, facts)], [example], [units_of(example, facts)]
    )
    assert [(s.text, s.label) for s in tags.spans] == [("see", "VV"), ("Rome", "NN")]


def test_a_crf_never_predicts_what_its_scheme_forbids():
    logits = np.array([[0, 0, 9], [9, 0, 0], [0, 0, 9]], np.float32)
    example = of_words("a", "b", "c")
    free, bound = (
        Tagging(crf=crf).make_head(BIO, 8).decode([logits], [example], [units_of(example, BIO)])[0].tags
        for crf in (False, True)
    )
    assert free == ["I-X", "O", "I-X"]
    assert Tagging().check_label(bound, example) == []


@pytest.mark.parametrize("crf", [False, True])
def test_a_text_without_units_has_an_empty_prediction(crf):
    head = Tagging(crf=crf).make_head(BIO, 8)
    (tags,) = head.decode([np.zeros((0, 3), np.float32)], [Example(text=" ")], [np.empty((0, 2), int)])
    assert (tags.spans, tags.tags) == ([], [])
    assert Tagging().encode([], Example(text=" "), window(np.empty((0, 2), int)), BIO)["tags"].shape == (0,)


@pytest.mark.parametrize("crf", [False, True])
def test_oracle_logits_decode_to_the_gold_tags(crf):
    task, rows = Tagging(crf=crf), Tagging.specimens(12)
    examples, labels = [of_words(*row["words"]) for row in rows], [row["label"] for row in rows]
    assert len({example.text for example in examples}) == 12
    facts = task.learn(labels, examples)
    units = [units_of(example, facts) for example in examples]
    logits = [
        task.oracle(task.encode(label, example, window(u), facts), facts)
        for label, example, u in zip(labels, examples, units, strict=True)
    ]
    meter = task.meter(facts)
    predictions = task.make_head(facts, 8).decode(logits, examples, units)
    for prediction, label, example, u in zip(predictions, labels, examples, units, strict=True):
        assert prediction.tags == label
        meter.update(prediction, task.gold(label, example, u, facts))
    assert meter.compute()["f1"] == 1.0


@pytest.mark.parametrize(
    ("labels", "scheme", "meter", "best"),
    [
        (["O", "B-X", "I-X"], "bio", EntityMeter, "f1"),
        (["B", "M", "E", "S"], "bmes", SegmentationMeter, "f1"),
        (["B", "I", "O"], "bio", EntityMeter, "f1"),
        (["NN", "VV"], "plain", TagMeter, "accuracy"),
    ],
)
def test_the_meter_and_the_best_metric_follow_the_tags(labels, scheme, meter, best):
    facts = {**BIO, "labels": labels, "scheme": scheme}
    assert type(Tagging().meter(facts)) is meter
    assert Tagging().best(facts) == best
    assert next(iter(Tagging().meter(facts).compute())) == best
