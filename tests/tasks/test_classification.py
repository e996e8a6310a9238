import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

import tiny
from braid.data.example import Example, Window
from braid.data.groups import make_batch
from braid.data.packing import pack_ids, pack_targets
from braid.errors import LabelError
from braid.model.evaluate import evaluate
from braid.tasks.base import Hidden
from braid.tasks.classification import Classification
from tiny import task_losses

EXAMPLE = Example(text="a text")
NO_UNITS = np.empty((0, 2), np.int64)


def window(number=0):
    ids = np.arange(3)
    return Window(ids, ids * 0, np.zeros((3, 2), int), NO_UNITS, 0, np.empty(0, np.int64), number)


def learn(rows, **options):
    return Classification(**options).learn(rows, [EXAMPLE] * len(rows))


def loss_of(task, facts, labels, logits):
    targets = pack_targets(
        range(len(labels)), [task.encode(label, EXAMPLE, window(), facts) for label in labels], count=len(labels)
    )
    return task.make_head(facts, 4).loss(logits, targets)


@pytest.mark.parametrize(
    ("labels", "inventory"),
    [
        (["pos", "neg", "pos"], ["neg", "pos"]),
        ([10, 9, "2"], ["2", "9", "10"]),
        ([1.0, 0, "1"], ["0", "1"]),
        ([True, False], ["false", "true"]),
        ([-1, 1, 0], ["-1", "0", "1"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        ([np.int64(1), np.float32(2), np.bool_(True)], ["1", "2", "true"]),
    ],
)
def test_labels_become_strings_in_a_fixed_order(labels, inventory):
    assert learn(labels)["labels"] == inventory


def test_given_labels_keep_their_order_and_may_lack_rows():
    assert learn(["b", "a"], labels=["c", "b", "a"])["labels"] == ["c", "b", "a"]
    assert learn([1, 0], labels=[1, 0])["labels"] == ["1", "0"]


@pytest.mark.parametrize(
    ("labels", "options", "what"),
    [
        ([], {}, "no training row has a label"),
        (["a", "a"], {}, "at least two labels"),
        (["neutral", "a"], {"labels": ["a", "neutrl"]}, "lacks 'neutral'.*did you mean 'neutrl'"),
        (["a", "b"], {"labels": ["a", "b", "a"]}, "names 'a' twice"),
        (["good", "bad"], {"class_weights": {"goood": 2.0}}, "no label 'goood': did you mean 'good'"),
        (["a", float("nan")], {}, "nan"),
        (["a", None], {}, "NoneType"),
        (["a", ["b"]], {}, "multilabel"),
        (["a", {"b": 1}], {}, "a mapping with 'b'"),
        (["a", " "], {}, "empty string"),
    ],
)
def test_labels_that_cannot_be_learned_from(labels, options, what):
    with pytest.raises(LabelError, match=what):
        learn(labels, **options)


def test_an_unknown_label_names_the_nearest():
    facts = learn(["positive", "negative"])
    with pytest.raises(LabelError, match=r"'postive'.*did you mean 'positive'"):
        Classification().encode("postive", EXAMPLE, window(), facts)


@pytest.mark.parametrize("options", [{"class_weights": {"a": 0}}, {"labels": [None]}, {"label_smoothing": 1.0}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValidationError):
        Classification(**options)


def test_only_the_first_window_of_a_text_carries_its_label():
    task, facts = Classification(), learn(["a", "b"])
    target = task.encode("b", EXAMPLE, window(), facts)
    assert target["label"].tolist() == [1]
    assert task.count(target) == 1
    assert task.encode("b", EXAMPLE, window(number=1), facts) is None
    assert task.gold(1.0, EXAMPLE, NO_UNITS, facts) == "1"


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_summed_cross_entropy(smoothing):
    task, facts, logits = Classification(label_smoothing=smoothing), learn(["a", "b", "c"]), torch.randn(4, 3)
    expected = F.cross_entropy(logits, torch.tensor([0, 2, 1, 1]), label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss_of(task, facts, ["a", "c", "b", "b"], logits), expected)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = ["a", "b", "b", "b", "c", "c"]
    weights = learn(labels, class_weights="balanced")["weights"]
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.array(list("abc")), y=labels).tolist())
    assert np.mean([weights["abc".index(label)] for label in labels]) == pytest.approx(1)


def test_given_weights_are_scaled_to_a_mean_of_one_and_weigh_the_rows():
    task, labels, logits = Classification(class_weights={"b": 3}), ["a", "b", "a"], torch.randn(3, 2)
    facts = task.learn(labels, [EXAMPLE] * 3)
    assert facts["weights"] == pytest.approx([0.6, 1.8])
    rows = F.cross_entropy(logits, torch.tensor([0, 1, 0]), reduction="none")
    expected = (rows * torch.tensor([0.6, 1.8, 0.6])).sum()
    torch.testing.assert_close(loss_of(task, facts, labels, logits), expected)


def test_a_given_label_without_rows_weighs_as_one():
    weights = learn(["a", "b", "b"], labels=["a", "b", "z"], class_weights="balanced")["weights"]
    assert weights == pytest.approx([1.5, 0.75, 1.0])


@pytest.mark.parametrize("options", [{}, {"pooler": False}, {"pooling": "attention", "class_weights": "balanced"}])
def test_the_head_gives_logits_of_the_rows_asked_for(options):
    task = Classification(**options)
    head = task.make_head(task.learn(["a", "b"], [EXAMPLE] * 2), 8).eval()
    batch = pack_ids([[1, 2], [3], [4, 5, 6]])
    hidden = Hidden(torch.randn(6, 8), batch)
    logits = head(hidden, torch.tensor([0, 2]))
    assert logits.shape == (2, 2)
    torch.testing.assert_close(logits[1:], head(hidden, torch.tensor([2])))
    assert "weight_C" not in head.state_dict()


def test_decoding_gives_label_and_probabilities():
    (label,) = (
        Classification()
        .make_head(learn(["a", "b"]), 4)
        .decode([np.log(np.array([[1.0, 3.0]], np.float32))], [EXAMPLE], [NO_UNITS])
    )
    assert label.to_json() == {"label": "b", "probabilities": pytest.approx({"a": 0.25, "b": 0.75})}


def test_oracle_logits_decode_to_the_gold_label():
    task, rows = Classification(), Classification.specimens(8)
    assert len({row["text"] for row in rows}) == 8
    facts = task.learn([row["label"] for row in rows], [EXAMPLE] * 8)
    logits = [task.oracle(task.encode(row["label"], EXAMPLE, window(), facts), facts) for row in rows]
    meter = task.meter(facts)
    for label, row in zip(task.make_head(facts, 4).decode(logits, [EXAMPLE] * 8, [NO_UNITS] * 8), rows, strict=True):
        assert label.label == row["label"]
        meter.update(label, task.gold(row["label"], EXAMPLE, NO_UNITS, facts))
    assert meter.compute()["accuracy"] == 1.0
    assert task.best(facts) == "accuracy"
    assert Classification(metric="macro_f1").best(facts) == "macro_f1"


# ------------------------------------------------------------------ teachers, focal loss, san


def test_a_teacher_is_mixed_with_the_label_and_learned_from_alone_where_there_is_none():
    labels = ["a", {"label": "b", "logits": {"a": 0.0, "b": 2.0}}, {"probabilities": {"a": 0.9, "b": 0.1}}]
    facts = learn(labels, soft={"alpha": 0.25, "temperature": 1.0})
    assert facts == {"labels": ["a", "b"], "soft": True}
    task = Classification(soft={"alpha": 0.25, "temperature": 1.0})
    rows = [task.encode(label, EXAMPLE, window(), facts) for label in labels]
    logits = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    found = task.make_head(facts, 4).loss(logits, pack_targets(range(3), rows, count=3))
    log_p = logits.log_softmax(1)

    def divergence(row, teacher):
        return (teacher * (teacher.log() - log_p[row])).sum()

    teacher = torch.tensor([0.0, 2.0]).softmax(0)
    expected = -log_p[0, 0] + 0.75 * -log_p[1, 1] + 0.25 * divergence(1, teacher)
    expected = expected + divergence(2, torch.tensor([0.9, 0.1]))
    torch.testing.assert_close(found, expected)
    golds = [task.gold(label, EXAMPLE, NO_UNITS, facts) for label in labels]
    assert golds == ["a", "b", "a"]


def test_labels_that_only_a_teacher_knows_are_in_the_inventory():
    assert learn(["a", {"logits": {"a": 0.0, "c": 1.0}}])["labels"] == ["a", "c"]


def test_hidden_layers_stand_in_front_of_the_classifier():
    head = Classification(hidden_layers=2).make_head(learn(["a", "b"]), 4)
    assert len([name for name in head.state_dict() if name.startswith("features.more")]) == 4


def test_san_learns_what_only_the_comparison_of_both_texts_tells():
    torch.manual_seed(0)
    words = ["red", "blue", "green", "black"]
    rows = [{"text": f"the {a} box", "pair": f"a {b} one", "label": str(a == b)} for a in words for b in words]
    examples = [tiny.example_of(row, "t") for row in rows]
    tokenizer = tiny.tokenizer_of(examples)
    specs = tiny.specs_of({"t": tiny.task_of("classification", head="san", class_weights="balanced")}, {"t": examples})
    group = tiny.group_of(specs, examples, tokenizer)
    model = tiny.model_of(tokenizer, specs).train()
    batch = make_batch([group], [(0, row) for row in group.rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (task_losses(model, batch, model(batch))["t"] / 16).backward()
        optimizer.step()
    assert evaluate(model, [group])["t"]["accuracy"] == 1.0


def test_an_answer_network_reads_pairs_only() -> None:
    san, linear = tiny.task_of("classification", head="san"), tiny.task_of("classification")
    assert "needs a `pair`" in str(san.fits(Example("alone")))
    assert san.fits(Example("a", "b")) is None
    assert linear.fits(Example("alone")) is None
