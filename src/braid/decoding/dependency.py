"""dependency: the best tree over the words of a sentence.

Shape legend: U words of one example (that its row has room for), H heads a word may have (0: the root), P (word, head)
pairs, C relations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.probabilities import softmax
from braid.decoding.trees import spanning_tree


@dataclass(frozen=True)
class Tree(Prediction):
    """Each word's head (words count from 1; 0 is the root) and its relation to it. *score*: the mean over words of
    their probability; of a label 1."""

    heads: list[int]
    relations: list[str]
    score: float = 1.0


@dataclass(frozen=True)
class DependencyDecoder(Decoder):
    """*labels*: the relations; *root*: the one that words on the root have, and only they (None: there is no such
    relation); *usual*: the most frequent of the others; *single_root*: as for `spanning_tree`."""

    kind: ClassVar[str] = "dependency"

    labels: list[str]
    usual: str
    root: str | None
    single_root: bool

    @cached_property
    def _barred_2C(self) -> np.ndarray:
        """On the root a word is `root`, elsewhere it is not; where one of the two leaves no relation, all are free."""
        is_root_C = np.array([label == self.root for label in self.labels])
        barred_2C = np.stack([~is_root_C, is_root_C])
        return np.asarray(barred_2C & ~barred_2C.all(axis=1, keepdims=True))

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Tree]:
        """The best tree of each example over the sum of its arcs' scores, then each arc's best relation: the root's
        own on the root and nowhere else. Words that the row had no room for hang on the word before them, by the
        usual relation; they take no part in the score."""
        return [self._tree(logits_PC, len(spans)) for logits_PC, spans in zip(logits, units, strict=True)]

    def _tree(self, logits_PC: np.ndarray, words: int) -> Tree:
        size = (isqrt(4 * len(logits_PC) + 1) - 1) // 2
        assert size * (size + 1) == len(logits_PC)
        assert size <= words
        logits_UHC = logits_PC.reshape(size, size + 1, logits_PC.shape[1])
        heads_U = spanning_tree(logits_UHC[:, :, 0], single_root=self.single_root)
        every_U = np.arange(size)
        on_arc_UC = logits_UHC[every_U, heads_U, 1:]
        relations_U = np.where(self._barred_2C[(heads_U > 0).astype(int)], -np.inf, on_arc_UC).argmax(axis=1)
        sure_U = softmax(logits_UHC[:, :, 0])[every_U, heads_U] * softmax(on_arc_UC)[every_U, relations_U]
        heads, relations = heads_U.tolist(), [self.labels[k] for k in relations_U.tolist()]
        for place in range(size, words):
            heads.append(place)
            relations.append(self.usual if place or self.root is None else self.root)
        return Tree(heads, relations, float(sure_U.mean()) if size else 1.0)
