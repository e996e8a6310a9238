"""Dependency trees: what labels are, what is learned of them, and what comes out."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from braid.data.example import Example, Window
from braid.data.groups import make_batch
from braid.data.packing import pack, pack_targets
from braid.data.units import join_words
from braid.decoding.trees import find_cycle
from braid.errors import LabelError
from braid.nn.losses import IGNORED
from braid.tasks.base import Hidden
from braid.tasks.dependency import Dependency, Tree, check_tree, read_tree

FACTS = {"labels": ["dep", "obj", "root"], "root": "root", "usual": "dep"}
WORDS = ("He", "saw", "her", "there")
HEADS = [2, 0, 2, 2]
LABEL = {"heads": HEADS, "relations": ["dep", "root", "obj", "dep"]}


def of_words(*words):
    return Example(join_words(words)[0], words=words)


def window(words, room=None, number=0):
    units = join_words(words)[1]
    n = len(units) if room is None else room
    return Window(np.arange(n), np.zeros(n, int), units[:n], units, 0, np.arange(n), number=number)


def learn(*labels, **options):
    return Dependency(**options).learn(labels, [of_words(*"abcd")] * len(labels))


# ------------------------------------------------------------------ learning


def test_relations_are_learned_with_their_subtypes():
    label = {"heads": [2, 0, 2, 2], "relations": ["nmod:poss", "root", "obj", "obj"]}
    assert learn(label) == {"labels": ["nmod:poss", "obj", "root"], "root": "root", "usual": "obj"}
    assert learn(LABEL, labels=["root", "obj", "dep", "case"])["labels"] == ["root", "obj", "dep", "case"]


def test_the_relation_of_the_root_has_any_name_where_it_has_one():
    other = {"heads": [2, 0], "relations": ["SBV", "HED"]}
    assert learn(other)["root"] == "HED"
    assert learn(other, {"heads": [0], "relations": ["IC"]})["root"] is None
    assert learn(other, {"heads": [0, 1], "relations": ["HED", "HED"]})["root"] is None
    assert learn({"heads": [0], "relations": ["root"]}) == {"labels": ["root"], "root": "root", "usual": "root"}


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ("2 0", 'expected {"heads"'),
        ({"heads": [0]}, 'expected {"heads"'),
        ({"heads": "0", "relations": ["root"]}, 'expected {"heads"'),
        ({"heads": ["0"], "relations": ["root"]}, "the head '0' is no whole number"),
        ({"heads": [True], "relations": ["root"]}, "the head true is no whole number"),
        ({"heads": [0], "relations": [""]}, "the relation '' is no string"),
        ({"heads": [0], "relations": [7]}, "the relation 7 is no string"),
        ({"heads": [0, 1], "relations": ["root"]}, "2 heads, but 1 relations"),
    ],
)
def test_labels_of_another_form_are_told(label, what):
    with pytest.raises(LabelError, match=what):
        learn(label)
    assert Dependency().check_label(label, of_words("a")) == []
    Dependency().describe_label(label)


def test_training_data_must_have_trees_and_the_relations_that_are_named():
    with pytest.raises(LabelError, match="no training row has a tree"):
        learn()
    with pytest.raises(LabelError, match="`labels:` lacks 'obj'"):
        learn(LABEL, labels=["root", "dep"])


# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("heads", "what"),
    [
        ([2, 0], "2 heads and relations for 4 words of 'He saw her there'"),
        ([2, 0, 5, 2], r"word 3 \('her'\) has head 5; heads are 0 \(the root\) to 4"),
        ([2, 0, -1, 2], r"word 3 \('her'\) has head -1"),
        ([2, 0, 3, 2], r"word 3 \('her'\) is its own head"),
        ([2, 1, 2, 2], "no word has head 0"),
        ([0, 0, 2, 2], r"2 words have head 0, word 1 \('He'\) and word 2 \('saw'\)"),
        ([2, 0, 4, 3], r"in a cycle: word 3 \('her'\) -> word 4 \('there'\) -> word 3"),
    ],
)
def test_what_is_no_tree_is_told_with_its_words(heads, what):
    label = {"heads": heads, "relations": ["dep"] * len(heads)}
    for task in (Dependency(), Dependency(single_root=False)):
        if not task.single_root and heads[:2] == [0, 0]:
            assert task.encode(label, of_words(*WORDS), window(WORDS), FACTS) is not None
            continue
        with pytest.raises(LabelError, match=what):
            task.encode(label, of_words(*WORDS), window(WORDS), FACTS)
        with pytest.raises(LabelError, match=what):
            task.gold(label, of_words(*WORDS), window(WORDS).units, FACTS)


def test_a_tree_becomes_heads_and_relations_of_the_words_in_the_row():
    task = Dependency()
    target = task.encode(LABEL, of_words(*WORDS), window(WORDS), FACTS)
    assert {key: value.tolist() for key, value in target.items()} == {"heads": HEADS, "relations": [0, 2, 1, 0]}
    assert task.count(target) == 4
    cut = task.encode({**LABEL, "heads": [2, 4, 2, 0]}, of_words(*WORDS), window(WORDS, 3), FACTS)
    assert cut["heads"].tolist() == [2, IGNORED, 2]
    assert cut["relations"].tolist() == [0, IGNORED, 1]
    assert task.count(cut) == 2
    assert task.encode(LABEL, of_words(*WORDS), window(WORDS, number=1), FACTS) is None


def test_an_unknown_relation_is_an_error_to_learn_but_not_to_measure():
    task, label = Dependency(), {**LABEL, "relations": ["dep", "root", "iobj", "dep"]}
    with pytest.raises(LabelError, match="did you mean 'obj'"):
        task.encode(label, of_words(*WORDS), window(WORDS), FACTS)
    gold = task.gold(label, of_words(*WORDS), window(WORDS).units, FACTS)
    assert gold == Tree(HEADS, label["relations"])
    meter = task.meter(FACTS)
    meter.update(Tree(HEADS, LABEL["relations"]), gold)
    assert meter.compute()["las"] == 0.75


def test_a_prediction_is_a_label():
    tree = Tree([2, 0], ["dep", "root"], 0.5)
    assert read_tree(tree.to_json()) == replace(tree, score=1.0)
    check_tree([], [], single_root=True)


def test_odd_labels_are_seen():
    odd = {"heads": [0, 1, 1], "relations": ["dep", "root", "obj"]}
    assert Dependency().check_label(odd, of_words(*"abc")) == [
        "word 1 has head 0, but the relation 'dep'",
        "word 2 has head 1, but the relation 'root'",
    ]
    assert Dependency().check_label(LABEL, of_words(*WORDS)) == []
    assert Dependency().describe_label(LABEL) == LABEL["relations"]


# ------------------------------------------------------------------ the head


def head_of(facts=FACTS, **options):
    torch.manual_seed(0)
    return Dependency(dropout=0.0, arc_size=8, relation_size=8, **options).make_head(facts, 12).eval()


def hidden_of(sizes):
    ids = [np.arange(size + 2) for size in sizes]
    batch = pack(ids, [np.zeros(len(row), int) for row in ids], [np.arange(size) + 1 for size in sizes])
    return Hidden(torch.randn(batch.n_tokens, 12), batch)


def by_hand(logits, heads, relations, sizes):
    """The paper's loss, word by word."""
    total, at, word = 0.0, 0, 0
    for size in sizes:
        for _ in range(size):
            of_word = logits[at : at + size + 1]
            head, relation = heads[word], relations[word]
            if head != IGNORED:
                total += F.cross_entropy(of_word[:, 0], torch.tensor(head))
                total += F.cross_entropy(of_word[head, 1:], torch.tensor(relation))
            at, word = at + size + 1, word + 1
    return total


def test_the_loss_is_that_of_arcs_and_of_relations_on_gold_arcs():
    sizes, head = [3, 1, 4], head_of()
    hidden = hidden_of(sizes)
    rows = torch.tensor([0, 1, 2])
    heads = [[2, 0, IGNORED], [0], [2, 0, 4, 2]]
    relations = [[0, 2, IGNORED], [2], [1, 2, 0, 1]]
    rows_targets = [{"heads": np.array(h), "relations": np.array(r)} for h, r in zip(heads, relations, strict=True)]
    targets = pack_targets([0, 1, 2], rows_targets, count=7)
    logits = head(hidden, rows)
    assert head.sizes(hidden.batch, rows).tolist() == [12, 2, 20]
    expected = by_hand(logits, [*chain(*heads)], [*chain(*relations)], sizes)
    torch.testing.assert_close(head.loss(logits, targets), expected)
    some = head(hidden, rows[1:])
    torch.testing.assert_close(some, logits[12:], atol=1e-5, rtol=1e-5)


def test_rows_without_words_or_known_heads_add_nothing():
    head = head_of()
    for sizes, heads in (([0], []), ([2], [IGNORED] * 2)):
        target = {"heads": np.array(heads, dtype=np.int64), "relations": np.array(heads, dtype=np.int64)}
        logits = head(hidden_of(sizes), torch.tensor([0]))
        loss = head.loss(logits, pack_targets([0], [target], count=0))
        assert loss.item() == 0.0
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def decoded(head, logits, n):
    units = np.stack([np.arange(n), np.arange(n) + 1], axis=1)
    return head.decode([logits], [Example("x" * n)], [units])[0]


def test_the_root_relation_stands_on_the_root_alone():
    logits = np.zeros((2, 3, 4), np.float32)
    logits[0, 2, 0] = logits[1, 0, 0] = 9.0
    logits[0, 2, 1:] = [1.0, 2.0, 9.0]  # `root` is the best of all, but not here
    logits[1, 0, 1:] = [9.0, 2.0, 1.0]
    assert decoded(head_of(), logits.reshape(6, 4), 2).relations == ["obj", "root"]
    assert decoded(head_of({**FACTS, "root": None}), logits.reshape(6, 4), 2).relations == ["root", "dep"]
    assert decoded(
        head_of({"labels": ["root"], "root": "root", "usual": "root"}), logits[..., :2].reshape(6, 2), 2
    ) == (Tree([2, 0], ["root", "root"], pytest.approx(0.99975, abs=1e-4)))


def test_one_word_or_several_hang_on_the_root():
    logits = np.zeros((3, 4, 4), np.float32)
    logits[:, 0, 0] = [5.0, 9.0, 5.0]
    assert decoded(head_of(), logits.reshape(12, 4), 3).heads.count(0) == 1
    assert decoded(head_of(single_root=False), logits.reshape(12, 4), 3).heads == [0, 0, 0]


def test_words_that_were_cut_off_hang_on_the_word_before():
    logits = np.zeros((2, 3, 4), np.float32)
    logits[0, 0, 0] = logits[1, 1, 0] = 30.0
    logits[:, :, 2] = 30.0
    tree = decoded(head_of(), logits.reshape(6, 4), 5)
    assert tree.heads == [0, 1, 2, 3, 4]
    assert tree.relations == ["root", "obj", "dep", "dep", "dep"]
    # The arcs are sure. So is `obj`, but on the root it is `root` all the same, and that is very unlikely.
    assert tree.score == pytest.approx(0.5)
    nothing = decoded(head_of(), np.zeros((0, 4), np.float32), 2)
    assert (nothing.heads, nothing.relations) == ([0, 1], ["root", "dep"])
    assert decoded(head_of(), np.zeros((0, 4), np.float32), 0) == Tree([], [], 1.0)


def test_scores_are_probabilities_of_head_and_relation():
    logits = np.zeros((1, 2, 4), np.float32)
    assert decoded(head_of(), logits.reshape(2, 4), 1).score == pytest.approx(1 / 2 * 1 / 3)


# ------------------------------------------------------------------ with tags of the same words


def test_tags_and_trees_of_one_sentence_share_a_row():
    trees = [tiny.example_of(row, "tree") for row in Dependency.specimens(8)]
    shouting = {"root": "V", "nsubj": "N", "det": "D"}
    examples = [
        replace(e, labels={**e.labels, "pos": [shouting.get(name, "X") for name in e.labels["tree"]["relations"]]})
        for e in trees
    ]
    tokenizer = tiny.tokenizer_of(examples)
    tasks = {"pos": tiny.task_of("tagging"), "tree": tiny.task_of("dependency")}
    specs = tiny.specs_of(tasks, dict.fromkeys(tasks, examples))
    group = tiny.group_of(specs, examples, tokenizer, max_length=12)
    model = tiny.model_of(tokenizer, specs).eval()
    batch = make_batch([group], [(0, row) for row in group.rows])
    assert {name: len(targets.rows) for name, targets in batch.targets.items()} == {"pos": 8, "tree": 8}
    assert set(model(batch)) == {"pos", "tree"}
    # A long text has several windows; its tree is of the first, and still has all its words.
    long = [
        replace(example, words=example.words * 6, text=" ".join(example.words * 6), labels={}) for example in examples
    ]
    found = tiny.infer(model, [tiny.group_of(specs, long, tokenizer, max_length=12)])
    for example, tags, tree in zip(long, found[0, "pos"], found[0, "tree"], strict=True):
        assert len(tags.tags) == len(tree.heads) == len(tree.relations) == len(example.words)
        assert find_cycle(np.array([0, *tree.heads])) is None
        assert tree.heads.count(0) == 1
