"""The best tree over words: a maximum spanning arborescence (Chu and Liu 1965, Edmonds 1967), in NumPy.

Shape legend: U words, V = U + 1 nodes (node 0 is the root), v nodes of a contracted graph.
"""

from __future__ import annotations

import numpy as np


def spanning_tree(scores_UV: np.ndarray, *, single_root: bool = True) -> np.ndarray:
    """The head [U] of each word in the tree with the greatest sum of scores; of equal ones, any, always the same.

    *scores* [U, U + 1]: word (row 0 is word 1) by head (column 0 is the root); finite. A word is never its own head.
    *single_root*: exactly one word hangs on the root. Then every arc from the root costs more than all others
    together could gain, so that the best tree has as few of them as a tree can have: one (Stanojevic and Cohen 2021,
    "A Root of a Problem").
    """
    size = len(scores_UV)
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    assert scores_UV.shape == (size, size + 1)
    scores_VV = np.full((size + 1, size + 1), -np.inf)
    scores_VV[1:] = scores_UV
    if single_root:
        scores_VV[1:, 0] -= 1.0 + np.ptp(scores_VV[1:], axis=1).sum()
    np.fill_diagonal(scores_VV, -np.inf)
    return _arborescence(scores_VV)[1:]


def _arborescence(scores_vv: np.ndarray) -> np.ndarray:
    """Best heads [v] of all nodes but the root, node 0. Cycles of best heads are contracted, one at a time, until
    there is none; then they are opened again, last first. O(V ** 3) at worst, since each time a node is saved."""
    contracted: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    while True:
        heads_v = scores_vv.argmax(axis=1)
        heads_v[0] = 0
        cycle = find_cycle(heads_v)
        if cycle is None:
            break
        others = np.setdiff1d(np.arange(len(heads_v)), cycle, assume_unique=True)
        kept_heads = heads_v[cycle]
        # What leaves the cycle leaves its best node; what enters it replaces the arc of the node that it enters.
        leaving = scores_vv[np.ix_(others, cycle)]
        entering = scores_vv[np.ix_(cycle, others)] - scores_vv[cycle, kept_heads][:, None]
        best_tail, best_entry = leaving.argmax(axis=1), entering.argmax(axis=0)
        smaller_vv = np.full((len(others) + 1, len(others) + 1), -np.inf)
        smaller_vv[:-1, :-1] = scores_vv[np.ix_(others, others)]
        smaller_vv[:-1, -1] = np.take_along_axis(leaving, best_tail[:, None], axis=1)[:, 0]
        smaller_vv[-1, :-1] = np.take_along_axis(entering, best_entry[None], axis=0)[0]
        contracted.append((cycle, others, kept_heads, cycle[best_tail], cycle[best_entry]))
        scores_vv = smaller_vv
    for cycle, others, kept_heads, tails, entries in reversed(contracted):
        within, into = heads_v[:-1], heads_v[-1]
        heads_v = np.zeros(len(cycle) + len(others), dtype=np.int64)
        heads_v[cycle] = kept_heads
        heads_v[entries[into]] = others[into]
        heads_v[others] = np.where(within == len(others), tails, others[np.minimum(within, len(others) - 1)])
    return heads_v


def find_cycle(heads: np.ndarray) -> np.ndarray | None:
    """The nodes of a cycle, along its arcs; None where every node reaches node 0. *heads* [V]: each node's head."""
    head = heads.tolist()
    seen = [0] * len(head)
    seen[0] = -1
    for start in range(1, len(head)):
        node = start
        while not seen[node]:
            seen[node] = start
            node = head[node]
        if seen[node] == start:
            cycle = [node]
            while head[cycle[-1]] != node:
                cycle.append(head[cycle[-1]])
            return np.array(cycle, dtype=np.int64)
    return None
