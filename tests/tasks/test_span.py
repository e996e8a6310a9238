from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from braid.data.example import Example, Window
from braid.data.packing import pack_ids, pack_targets
from braid.data.windows import WindowOptions, tokenise, units_of
from braid.errors import LabelError, SkippedLabelError
from braid.tasks.base import Hidden
from braid.tasks.span import Span, SpanHead

FACTS = {"no_answer": True, "scorer": "squad_v2"}
ALWAYS = {"no_answer": False, "scorer": "squad_v1"}
ROME = Example(text="where?", pair="Anna went to New York, they say")
"""Units: Anna went to New York , they say"""
HAN = Example(text="谁？", pair="安娜 went去了罗马。")
"""Units: 安 娜 went 去 了 罗 马 。"""


def window(example=ROME, first=0, last=None, number=0):
    units = units_of(example, "pair")
    n = (len(units) if last is None else last) - first
    return Window(np.arange(n), np.zeros(n, int), np.zeros((n, 2), int), units, first, np.arange(n), number)


def answer(text, example=ROME, **more):
    return {"start": example.pair.index(text), "text": text, **more}


def learn(labels, examples=None, **options):
    return Span(**options).learn(labels, examples or [ROME] * len(labels))


def encode(label, example=ROME, facts=FACTS, **where):
    target = Span().encode(label, example, window(example, **where), facts)
    return {key: int(value[0]) for key, value in target.items()}


# ------------------------------------------------------------------ learning


def test_whether_there_may_be_no_answer_is_seen_from_the_labels():
    assert learn([[answer("Anna")], [answer("York")]]) == ALWAYS
    assert learn([[answer("Anna")], []]) == FACTS
    assert learn([[answer("Anna")]], no_answer=True) == FACTS
    assert learn([[answer("Anna")], []], no_answer=False) == ALWAYS


def test_contexts_tell_whose_scorer_it_is():
    label = [answer("罗马", HAN)]
    assert learn([label], [HAN])["scorer"] == "cmrc"
    assert learn([label], [HAN], scorer="squad")["scorer"] == "squad_v1"
    quotes = Example(text="who?", pair="Anna, or 安娜 as they say in Beijing")
    assert learn([[answer("Anna", quotes)]], [quotes])["scorer"] == "squad_v1"
    assert learn([[answer("Anna")], []], scorer="cmrc") == {"no_answer": True, "scorer": "cmrc"}


def test_there_must_be_an_answer_somewhere():
    for labels in ([], [[], []]):
        with pytest.raises(LabelError, match="no training row has an answer"):
            learn(labels)


def test_a_context_is_needed():
    assert Span().fits(ROME) is None
    for pair in (None, "", " \n"):
        assert "pair" in Span().fits(Example(text="who?", pair=pair))


# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("example", "label", "start", "end"),
    [
        (ROME, [answer("New York")], 3, 4),
        (ROME, [answer("ew Yor")], 3, 4),
        (ROME, [answer(" York, ")], 4, 5),
        (HAN, [answer("罗马", HAN)], 5, 6),
        (HAN, [answer("wen", HAN)], 2, 2),
        (ROME, [answer("York"), answer("Anna")], 4, 4),
        (ROME, [{"start": 3, "text": "New York"}, answer("Anna")], 0, 0),
        (ROME, {"text": ["Anna"], "answer_start": [0]}, 0, 0),
        (ROME, [], -1, -1),
        (ROME, {"text": [], "answer_start": []}, -1, -1),
        (ROME, {"text": "New York", "start": 13, "end": 21, "score": 0.9, "nbest": []}, 3, 4),
        (ROME, {"text": "", "start": None, "end": None, "score": 0.9, "nbest": []}, -1, -1),
    ],
)
def test_a_target_is_the_first_answer_that_stands_where_it_should_in_units(example, label, start, end):
    target = encode(label, example)
    assert (target["start"], target["end"]) == (start, end)
    assert target["answerable"] == (start >= 0)
    assert target["units"] == 8


def test_ends_belong_to_the_windows_that_own_them():
    parts = [encode([answer("New York")], first=0, last=4), encode([answer("New York")], first=4, last=8, number=1)]
    assert [(part["start"], part["end"], part["answerable"], part["first"]) for part in parts] == [
        (3, -1, 1, 1),
        (-1, 0, 1, 0),
    ]
    assert [Span().count({key: np.array([value]) for key, value in part.items()}) for part in parts] == [1, 0]


def test_in_tokenised_windows_the_ends_stand_at_the_answers_own_pieces():
    pair = " ".join(f"word{k}" for k in range(60)) + " the answer stands here " + "and more follows " * 10
    example = Example(text="what stands here", pair=pair)
    tokenizer = tiny.tokenizer_of([example])
    options = WindowOptions(max_length=40, stride=10, units="pair", layout="pair_windows")
    (windows,) = tokenise([example], tokenizer, options)
    assert len(windows) > 3
    found = {"start": [], "end": []}
    for one in windows:
        target = Span().encode([answer("the answer", example)], example, one, FACTS)
        for key, ends in found.items():
            if target[key][0] >= 0:
                ends.append(pair[slice(*one.offsets[one.unit_tokens[target[key][0]]])])
    assert [len(ends) for ends in found.values()] == [1, 1]
    assert "the".startswith(found["start"][0])
    assert "answer".startswith(found["end"][0])


@pytest.mark.parametrize(
    "label",
    [
        [{"start": -1, "text": "FAKE_ANSWER"}],
        [{"start": 2, "text": "Anna"}],
        [{"start": 99, "text": "Anna"}],
        # A negative start must not be read from the context's end.
        [{"start": -3, "text": "sa"}],
    ],
)
def test_an_answer_that_stands_elsewhere_is_left_out_but_still_compared_with(label):
    with pytest.raises(SkippedLabelError, match="does not stand where `start` says"):
        encode(label)
    assert Span().gold(label, ROME, units_of(ROME, "pair"), FACTS) == [label[0]["text"]]


def test_no_answer_is_left_out_where_the_task_knows_none():
    with pytest.raises(SkippedLabelError, match="no_answer: false"):
        encode([], facts=ALWAYS)
    assert Span().gold([], ROME, units_of(ROME, "pair"), ALWAYS) == []


@pytest.mark.parametrize(
    "label",
    [
        "Anna",
        {"start": None, "text": "Anna"},
        {"text": ["Anna"], "answer_start": []},
        {"text": 1, "answer_start": 2},
        ["Anna"],
        [{"start": 0}],
        [{"start": "0", "text": "Anna"}],
        [{"start": True, "text": "Anna"}],
        [{"start": 0.0, "text": "Anna"}],
        [{"start": 0, "text": 4}],
        [{"start": 0, "text": " "}],
        3,
    ],
)
def test_what_is_no_answer_at_all(label):
    with pytest.raises(LabelError):
        encode(label)
    with pytest.raises(LabelError):
        Span().gold(label, ROME, units_of(ROME, "pair"), FACTS)
    assert learn([label, [answer("Anna")]]) == ALWAYS, "the place of a wrong label is found when it is encoded"


def test_check_tells_of_odd_answers():
    odd = [answer("New"), answer("ew Yor"), {"start": 1, "text": "Anna"}, answer("went to New York")]
    found = Span(max_answer_length=3).check_label(odd, ROME)
    assert [text.split(maxsplit=1)[1] for text in found] == [
        "'ew Yor' begins or ends within a word",
        "'Anna': the answer does not stand where `start` says (1)",
        "'went to New York' has 4 units, more than max_answer_length",
    ]
    assert Span().describe_label([]) + Span().describe_label(odd) == ["no answer", "answer"]


# ------------------------------------------------------------------ head and loss


def test_logits_are_those_of_units_and_of_their_windows_first_token():
    batch = replace(
        pack_ids([[1, 2, 3, 4], [5, 6], [7], [8, 9, 10]]),
        words=torch.tensor([1, 3, 5, 8, 9]),
        cu_words=torch.tensor([0, 2, 3, 3, 5]),
    )
    head, hidden = Span().make_head(FACTS, 8).eval(), torch.randn(10, 8)
    rows = torch.tensor([3, 2, 0])
    logits = head(Hidden(hidden, batch), rows)
    scores = head.classifier(hidden)
    torch.testing.assert_close(logits[:, :2], scores[[8, 9, 1, 3]])
    torch.testing.assert_close(logits[:, 2:], scores[[7, 7, 0, 0]])
    assert head.sizes(batch, rows).tolist() == [2, 0, 2]


def targets_of(parts, facts, examples):
    """Targets of windows: (example's label, first, last, number)."""
    rows = [
        Span().encode(label, ROME, window(first=first, last=last, number=number), facts)
        for label, first, last, number in parts
    ]
    return pack_targets(range(len(rows)), rows, count=len(set(examples)), examples=examples)


NEW_YORK, ANNA = [answer("New York")], [answer("Anna")]
PARTS = [(NEW_YORK, 4, 8, 1), (ANNA, 0, 8, 0), (NEW_YORK, 0, 4, 0), (NEW_YORK, 8, 8, 2), ([], 0, 6, 0), ([], 6, 8, 1)]
WHOSE = ["b", "a", "b", "b", "c", "c"]
"""Windows in the order of their lengths, not of their examples; one owns no unit."""


def test_the_loss_is_shared_by_all_windows_of_an_example_and_no_answer():
    head, logits = Span().make_head(FACTS, 8), torch.randn(24, 4, dtype=torch.float64)
    # Units of a window repeat its scores for no answer.
    for first, last in ((0, 4), (4, 12), (12, 16), (16, 22), (22, 24)):
        logits[first:last, 2:] = logits[first, 2:]
    b = torch.cat([logits[12:16], logits[0:4]])
    expected = 0.0
    for own, start, end in ((logits[4:12], 0, 0), (b, 3, 4), (logits[16:24], 8, 8)):
        for column, gold in ((0, start), (1, end)):
            options = torch.cat([own[:, column], own[:, 2 + column].min()[None]])
            expected += F.cross_entropy(options[None], torch.tensor([gold])) / 2
    found = head.loss(logits, targets_of(PARTS, FACTS, WHOSE))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_without_no_answer_its_scores_are_not_looked_at():
    head, logits = Span().make_head(ALWAYS, 8), torch.randn(16, 4, requires_grad=True)
    loss = head.loss(logits, targets_of(PARTS[:4], ALWAYS, WHOSE[:4]))
    b = torch.cat([logits[12:16], logits[0:4]])
    expected = sum(
        F.cross_entropy(own[None, :, column], torch.tensor([gold])) / 2
        for own, golds in ((logits[4:12], (0, 0)), (b, (3, 4)))
        for column, gold in enumerate(golds)
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad[:, 2:].abs().sum() == 0


def test_gradients_of_the_no_answer_score_reach_the_least_window_only():
    head, logits = Span().make_head(FACTS, 8), torch.zeros(8, 4)
    logits[6:, 2:] = -1.0
    logits.requires_grad_()
    head.loss(logits, targets_of(PARTS[4:], FACTS, WHOSE[4:])).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:6, 2:].abs().sum() == 0
    assert (logits.grad[6:, 2:] < 0).all()


# ------------------------------------------------------------------ decoding


def scores(*ends, example=ROME, null=-50.0):
    """Logits with (start, end, score) marked."""
    logits = np.zeros((len(units_of(example, "pair")), 4), np.float32)
    logits[:, 2:] = null
    for start, end, score in ends:
        logits[start, 0] += score
        logits[end, 1] += score
    return logits


def decode(logits, example=ROME, facts=FACTS, threshold=0.0, **options):
    head = Span(**options).make_head(facts, 8)
    head.null_threshold.fill_(threshold)
    (found,) = head.decode([logits], [example], [units_of(example, "pair")])
    return found


def test_answers_are_cut_from_the_users_own_string():
    found = decode(scores((3, 4, 20)))
    assert (found.text, found.start, found.end, found.nbest) == ("New York", 13, 21, [])
    assert found.score == pytest.approx(1.0)
    found = decode(scores((2, 6, 20), example=HAN), HAN)
    assert found.text == "went去了罗马" == HAN.pair[found.start : found.end]
    assert found.to_json() == {"text": found.text, "start": 3, "end": 11, "score": found.score, "nbest": []}


def test_a_span_neither_ends_before_it_starts_nor_is_too_long():
    assert decode(scores((4, 3, 20), (0, 1, 5))).text == "Anna went to New"
    assert decode(scores((0, 7, 20), (1, 2, 1)), max_answer_length=3).text == "Anna went to"
    assert decode(scores((0, 7, 20)), max_answer_length=8).text == ROME.pair


def test_scores_are_probabilities_among_all_spans_and_no_answer():
    logits = np.log(np.array([[0.5, 0.25], [0.5, 0.75]], np.float32))
    two = Example(text="?", pair="a b")
    flat = np.concatenate([logits, np.log(np.array([[0.5, 0.5]] * 2, np.float32))], axis=1)
    # Spans: a 1/8, a b 3/8, b 3/8; no answer 1/4.
    found = decode(flat, two, n_best=9)
    assert [(one.text, one.score) for one in found.nbest] == [
        ("a b", pytest.approx(1 / 3)),
        ("b", pytest.approx(1 / 3)),
        ("a", pytest.approx(1 / 9)),
    ]
    assert (found.text, found.score) == ("a b", found.nbest[0].score)
    without = decode(flat, two, facts=ALWAYS, n_best=2)
    assert [one.score for one in without.nbest] == pytest.approx([3 / 7, 3 / 7])


def test_no_answer_has_no_place_and_may_still_list_spans():
    found = decode(scores((3, 4, 5), null=6.0), n_best=2)
    assert (found.text, found.start, found.end) == ("", None, None)
    assert found.score > 0.5
    assert found.nbest[0].text == "New York"
    assert decode(scores((3, 4, 5), null=6.0), threshold=2.5).text == "New York"
    assert decode(scores((3, 4, 5), null=4.0), threshold=-2.5).text == ""
    assert decode(scores((3, 4, 5), null=6.0), facts=ALWAYS).text == "New York"


def test_no_answer_is_scored_by_the_window_that_is_least_for_it():
    logits = scores((3, 4, 5), null=6.0)
    logits[4:, 2:] = 1.0
    assert decode(logits).text == "New York"


def test_a_context_without_units_has_no_answer():
    found = decode(np.zeros((0, 4), np.float32), Example(text="?", pair=" "))
    assert (found.text, found.start, found.end, found.nbest) == ("", None, None, [])


# ------------------------------------------------------------------ threshold


def test_the_threshold_is_tuned_for_f1_and_saved_with_the_head():
    head = Span().make_head(FACTS, 8)
    margins = [(2.0, []), (1.0, ["New York"]), (-1.0, ["New York"]), (-3.0, [])]
    logits = [scores((3, 4, 10), null=10 + margin / 2) for margin, _ in margins]
    golds, units = [gold for _, gold in margins], [units_of(ROME, "pair")] * 4
    head.tune(logits, golds, [ROME] * 4, units)
    assert head.null_threshold.item() == 1.5
    meter = Span().meter(FACTS)
    for prediction, gold in zip(head.decode(logits, [ROME] * 4, units), golds, strict=True):
        meter.update(prediction, gold)
    assert meter.compute()["f1"] == 0.75
    other = Span().make_head(FACTS, 8)
    other.load_state_dict(head.state_dict())
    assert other.null_threshold.item() == 1.5


def test_nothing_is_tuned_where_there_is_always_an_answer_or_nothing_to_tune_on():
    assert SpanHead.tunes
    for facts, golds in ((ALWAYS, [["Anna"]]), (FACTS, [])):
        head = Span().make_head(facts, 8)
        head.tune([scores((0, 0, 1))] * len(golds), golds, [ROME] * len(golds), [units_of(ROME, "pair")] * len(golds))
        assert head.null_threshold.item() == 0.0
