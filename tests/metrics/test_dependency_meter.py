"""LAS, UAS and CLAS by the rules of the CoNLL 2018 scorer; where `udtools` is installed, by the scorer itself."""

import io
import random

import pytest

from braid.metrics.dependency import DependencyMeter, universal
from braid.tasks.dependency import Tree

RELATIONS = ["root", "nsubj", "nsubj:pass", "obj", "det", "case", "punct", "nmod", "nmod:poss", "aux", "conj", "dep"]


def scored(*pairs):
    meter = DependencyMeter()
    for said, gold in pairs:
        meter.update(said, gold)
    return meter


def test_words_are_weighted_over_the_whole_set():
    right = Tree([0], ["root"])
    half = Tree([2, 0, 2, 2], ["nsubj", "root", "obj", "punct"])
    said = Tree([2, 0, 1, 1], ["obj", "root", "obj", "punct"])
    scores = scored((right, right), (said, half)).compute()
    assert list(scores) == ["las", "uas", "clas"]
    assert scores["uas"] == pytest.approx(3 / 5)  # the first two heads of the second sentence
    assert scores["las"] == pytest.approx(2 / 5)  # of them, one with its relation
    # Content words: 4 of the gold trees, 4 of the predicted ones, 2 right.
    assert scores["clas"] == pytest.approx(2 / 4)


def test_subtypes_count_neither_for_nor_against():
    gold, said = Tree([2, 0], ["nmod:poss", "root"]), Tree([2, 0], ["nmod:desc", "root"])
    assert universal("nmod:poss") == universal("nmod") == "nmod"
    assert scored((said, gold)).compute() == {"las": 1.0, "uas": 1.0, "clas": 1.0}


def test_clas_has_a_precision_and_a_recall():
    gold = Tree([0, 1, 1, 1], ["root", "punct", "det", "obj"])
    said = Tree([0, 1, 1, 1], ["root", "obj", "obj", "obj"])
    # 2 content words of gold, 4 of the prediction, 2 right: P 1/2, R 1.
    assert scored((said, gold)).compute()["clas"] == pytest.approx(2 * 0.5 / 1.5)


def test_nothing_yet_is_0_and_tables_tell_relations():
    assert DependencyMeter().compute() == {"las": 0.0, "uas": 0.0, "clas": 0.0}
    gold, said = Tree([0, 1, 1], ["root", "det", "det"]), Tree([0, 1, 2], ["root", "det", "case"])
    table = {row["label"]: row for row in scored((said, gold)).table()}
    assert list(table) == ["case", "det", "root"]
    assert (table["det"]["precision"], table["det"]["recall"], table["det"]["support"]) == (1.0, 0.5, 2)
    assert table["case"]["f1"] == 0.0


def random_tree(rng, size):
    order = rng.sample(range(1, size + 1), size)
    heads = {order[0]: 0} | {word: rng.choice(order[:k]) for k, word in enumerate(order) if k}
    return [heads[word] for word in range(1, size + 1)]


def conllu(trees):
    lines = []
    for tree in trees:
        for place, (head, relation) in enumerate(zip(tree.heads, tree.relations, strict=True), 1):
            lines.append(f"{place}\tw{place}\t_\tX\t_\t_\t{head}\t{relation}\t_\t_")
        lines.append("")
    return io.StringIO("\n".join(lines) + "\n")


def test_it_equals_the_official_scorer():
    official = pytest.importorskip("udtools.udeval")
    rng = random.Random(0)
    gold, said = [], []
    for _ in range(50):
        heads = random_tree(rng, rng.randint(1, 15))
        other = random_tree(rng, len(heads)) if rng.random() < 0.5 else heads
        relations = ["root" if head == 0 else rng.choice(RELATIONS[1:]) for head in heads]
        guessed = [a if rng.random() < 0.7 else rng.choice(RELATIONS) for a in relations]
        gold.append(Tree(heads, relations))
        said.append(Tree(other, ["root" if head == 0 else a for head, a in zip(other, guessed, strict=True)]))
    reference = official.evaluate(*(official.load_conllu(conllu(trees), "x", {}) for trees in (gold, said)))
    scores = scored(*zip(said, gold, strict=True)).compute()
    assert 0.2 < scores["las"] < scores["uas"] < 0.9
    for name in ("las", "uas", "clas"):
        assert scores[name] == pytest.approx(reference[name.upper()].f1, abs=1e-12), name
