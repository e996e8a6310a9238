"""The best tree is the best of all trees."""

from itertools import product

import numpy as np
import pytest

from braid.decoding.trees import find_cycle, spanning_tree


def trees(n, single_root):
    """All heads [n] that make a tree."""
    for heads in product(range(n + 1), repeat=n):
        roots = heads.count(0)
        if (roots == 1 or (roots and not single_root)) and find_cycle(np.array([0, *heads])) is None:
            yield heads


def total(scores, heads):
    return sum(scores[word, head] for word, head in enumerate(heads))


@pytest.mark.parametrize("single_root", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_it_is_the_best_of_all_trees(n, single_root):
    rng = np.random.default_rng(n)
    every = list(trees(n, single_root))
    # Cayley's formula: (n + 1) ** (n - 1) trees, and n ** (n - 1) where one word alone hangs on the root.
    assert len(every) == (n ** (n - 1) if single_root else (n + 1) ** (n - 1))
    for trial in range(60):
        scores = rng.normal(size=(n, n + 1)) * 10.0 ** (trial % 5 - 1)
        found = spanning_tree(scores, single_root=single_root)
        assert tuple(found.tolist()) in every
        best = max(total(scores, heads) for heads in every)
        assert total(scores, found) == pytest.approx(best, abs=1e-9, rel=1e-12)


@pytest.mark.parametrize("n", [2, 7, 30])
def test_it_is_as_good_as_that_of_networkx(n):
    networkx = pytest.importorskip("networkx")
    rng = np.random.default_rng(0)
    for _ in range(10):
        # Whole numbers make ties; words that like each other make cycles.
        scores = rng.integers(0, 9, size=(n, n + 1)).astype(float)
        for single_root in (True, False):
            graph = networkx.DiGraph()
            for word, head in product(range(n), range(n + 1)):
                if head != word + 1:
                    graph.add_edge(
                        head, word + 1, weight=scores[word, head] - (1000 * n if single_root else 0) * (not head)
                    )
            best = networkx.maximum_spanning_arborescence(graph)
            expected = [next(iter(best.predecessors(word + 1))) for word in range(n)]
            found = spanning_tree(scores, single_root=single_root)
            assert total(scores, found) == pytest.approx(total(scores, expected))
            assert find_cycle(np.array([0, *found])) is None
            assert not single_root or found.tolist().count(0) == 1


def test_cycles_within_cycles_are_opened():
    # 1 and 2 like each other, and so do these two and 3, and these three and 4.
    scores = np.full((4, 5), -50.0)
    scores[0, 2], scores[1, 1] = 10, 10
    scores[2, 2], scores[0, 3] = 8, 5
    scores[3, 3], scores[2, 4] = 6, 4
    scores[3, 0] = 1
    assert spanning_tree(scores).tolist() == [3, 1, 4, 0]


def test_one_word_hangs_on_the_root_however_dear():
    assert spanning_tree(np.full((3, 4), 0.0)).tolist().count(0) == 1
    greedy = np.zeros((3, 4))
    greedy[:, 0] = [90.0, 99.0, 80.0]
    assert spanning_tree(greedy, single_root=False).tolist() == [0, 0, 0]
    found = spanning_tree(greedy).tolist()
    assert (found.count(0), found[1]) == (1, 0)


def test_edges_of_the_domain():
    assert spanning_tree(np.zeros((0, 1))).tolist() == []
    assert spanning_tree(np.array([[-3.0, 99.0]], dtype=np.float32)).tolist() == [0]


def test_a_long_sentence_is_quick_even_where_all_is_cycles():
    n = 300
    scores = np.random.default_rng(3).normal(size=(n, n + 1))
    for word in range(0, n - 1, 2):
        scores[word, word + 2] = scores[word + 1, word + 1] = 50.0
    found = spanning_tree(scores)
    assert find_cycle(np.array([0, *found])) is None
    assert found.tolist().count(0) == 1


def test_a_cycle_is_named_along_its_arcs():
    assert find_cycle(np.array([0, 2, 0, 1])) is None
    assert find_cycle(np.array([0, 0, 4, 2, 3])).tolist() == [2, 4, 3]
    assert find_cycle(np.array([0, 1])).tolist() == [1]
