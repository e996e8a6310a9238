"""dependency: the syntactic head of each word and its relation to it; together they make a tree.

Shape legend: U words of one example (that its row has room for), W words of all rows, R rows that carry trees, H heads
a word may have (0: the root), P (word, head) pairs of all rows, D hidden size, C relations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, id_of, inventory
from braid.data.windows import UnitKind
from braid.decoding.dependency import DependencyDecoder
from braid.decoding.dependency import Tree as Tree
from braid.decoding.trees import find_cycle
from braid.errors import LabelError, shown
from braid.metrics.dependency import DependencyMeter
from braid.nn.biaffine import BiaffineArcs
from braid.nn.divergence import class_divergence, segment_divergence
from braid.nn.losses import IGNORED
from braid.nn.segments import pad, unit_places
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Target


class Dependency(LabelledTask):
    """The syntactic head of each word and its relation to it: a dependency tree."""

    type: Literal["dependency"] = "dependency"
    hub_task: ClassVar[str] = "token-classification"
    main_metric: ClassVar[str] = "las"
    comparable: ClassVar[bool] = True

    labels: list[str] | None = None
    """All relations, in their order. None: those of the training data, sorted."""

    single_root: bool = True
    """Exactly one word of a sentence hangs on the root, as Universal Dependencies has it."""

    arc_size: int = Field(default=256, ge=1)
    """Size of a word's vectors that arcs are scored by."""

    relation_size: int = Field(default=128, ge=1)
    """Size of a word's vectors that relations are scored by."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_strings(cls, value: Any) -> Any:
        return as_strings(value) if isinstance(value, list | tuple) else value

    @property
    def unit_kind(self) -> UnitKind:
        """Words."""
        return "words"

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels`: the relations; `root`: the one that words on the root have, and only they (None: there is no such
        relation); `usual`: the most frequent of the others.

        Raises LabelError where a label is no tree, or the `labels` option lacks a relation."""
        on_root: Counter[str] = Counter()
        elsewhere: Counter[str] = Counter()
        for label in labels:
            tree = read_tree(label)
            for head, relation in zip(tree.heads, tree.relations, strict=True):
                (elsewhere if head else on_root)[relation] += 1
        if not on_root and not elsewhere:
            raise LabelError("no training row has a tree; check the name of the label column (`data.columns`)")
        names = inventory({*on_root, *elsewhere}, self.labels)
        root = next(iter(on_root)) if len(on_root) == 1 and not on_root.keys() & elsewhere.keys() else None
        root = "root" if "root" in names else root
        others = {name: elsewhere[name] for name in names if name != root} or {names[0]: 0}
        return {"labels": names, "root": root, "usual": max(others, key=lambda name: others[name])}

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`heads` [U], `relations` [U] of the words that the row has room for; `IGNORED` where the head has none."""
        if window.number:
            return None
        tree = self.gold(label, example, window.units, facts)
        heads_U = np.array(tree.heads[: window.last_unit], dtype=np.int64)
        relations_U = np.array(
            [id_of(name, facts["labels"]) for name in tree.relations[: len(heads_U)]], dtype=np.int64
        )
        lost_U = heads_U > len(heads_U)
        heads_U[lost_U] = relations_U[lost_U] = IGNORED
        return {"heads": heads_U, "relations": relations_U}

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> Tree:
        """The tree. Raises LabelError where the label is none."""
        tree = read_tree(label)
        if len(tree.heads) != len(units):
            raise LabelError(
                f"{len(tree.heads)} heads and relations for {len(units)} words of {example.text!r:.60}; "
                "each word needs one of both"
            )
        check_tree(tree.heads, [example.text[a:b] for a, b in units.tolist()], single_root=self.single_root)
        return tree

    def count(self, target: Target) -> int:
        """Words of the row whose head is in it."""
        return int((target["heads"] != IGNORED).sum())

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Biaffine attention over each word's first piece."""
        return DependencyHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> DependencyMeter:
        """las, uas, clas."""
        return DependencyMeter()

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short sentences of two kinds: someone saw something, in or with something."""
        rows = []
        for i in range(n):
            words, heads = ["Anna", "saw", f"{('a', 'the')[i % 2]}", f"{('cat', 'dog')[i // 2 % 2]}"], [2, 0, 4, 2]
            relations = ["nsubj", "root", "det", "obj"]
            if i % 3:
                # What was seen has a house, or the seeing has a telescope.
                words += [*(("in", "house"), ("with", "glasses"))[i % 3 - 1], str(i)]
                heads += [6, (4, 2)[i % 3 - 1], 6]
                relations += ["case", ("nmod", "obl")[i % 3 - 1], "nummod"]
            else:
                words, heads, relations = [*words, str(i)], [*heads, 4], [*relations, "nummod"]
            rows.append({"words": words, "label": {"heads": heads, "relations": relations}})
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits [U * (U + 1), 1 + C] that are large at each word's arc and its relation."""
        size = len(target["heads"])
        logits_UHC = np.zeros((size, size + 1, 1 + len(facts["labels"])), dtype=np.float32)
        words_S = np.flatnonzero(target["heads"] != IGNORED)
        heads_S, relations_S = target["heads"][words_S], target["relations"][words_S]
        logits_UHC[words_S, heads_S, 0] = 50.0
        logits_UHC[words_S, heads_S, 1 + relations_S] = 50.0
        return logits_UHC.reshape(size * (size + 1), logits_UHC.shape[2])

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The relations."""
        relations = label.get("relations") if isinstance(label, Mapping) else None
        return [str(relation) for relation in relations] if isinstance(relations, list | tuple) else []

    def check_label(self, label: Any, example: Example, facts: Facts | None = None) -> list[str]:
        """Words called `root` that hang on a word, and those on the root that are called something else."""
        try:
            tree = read_tree(label)
        except LabelError:
            return []
        if "root" not in tree.relations:
            return []
        return [
            f"word {place} has head {head}, but the relation {relation!r}"
            for place, (head, relation) in enumerate(zip(tree.heads, tree.relations, strict=True), 1)
            if (head == 0) is not (relation == "root")
        ]


def read_tree(label: Any) -> Tree:
    """A label as a tree, which may not be one yet (see `check_tree`). Raises LabelError for what has another form."""
    heads, relations = (label.get("heads"), label.get("relations")) if isinstance(label, Mapping) else (None, None)
    if not isinstance(heads, list | tuple) or not isinstance(relations, list | tuple):
        raise LabelError(f'expected {{"heads": [2, 0], "relations": ["det", "root"]}}, found {shown(label)}')
    for head in heads:
        if not isinstance(head, int) or isinstance(head, bool):
            raise LabelError(
                f"the head {shown(head)} is no whole number; heads are words, counted from 1, or 0: the root"
            )
    for relation in relations:
        if not isinstance(relation, str) or not relation.strip():
            raise LabelError(f"the relation {shown(relation)} is no string; each word needs the name of one")
    if len(heads) != len(relations):
        raise LabelError(f"{len(heads)} heads, but {len(relations)} relations; each word needs one of both")
    return Tree([int(head) for head in heads], [relation.strip() for relation in relations])


def check_tree(heads: Sequence[int], words: Sequence[str], *, single_root: bool) -> None:
    """Raises LabelError, naming the words that are wrong, unless the heads make a tree."""

    def named(place: int) -> str:
        return f"word {place} ({words[place - 1]!r:.30})"

    for place, head in enumerate(heads, 1):
        if not 0 <= head <= len(heads):
            raise LabelError(f"{named(place)} has head {head}; heads are 0 (the root) to {len(heads)}, the last word")
        if head == place:
            raise LabelError(f"{named(place)} is its own head; the root is 0")
    roots = [place for place, head in enumerate(heads, 1) if head == 0]
    if heads and not roots:
        raise LabelError("no word has head 0, the root: this is no tree")
    if single_root and len(roots) > 1:
        raise LabelError(
            f"{len(roots)} words have head 0, {named(roots[0])} and {named(roots[1])} first; "
            "in UD one word has (set `single_root: false` for other trees)"
        )
    cycle = find_cycle(np.array([0, *heads]))
    if cycle is not None:
        path = [named(place) for place in [*cycle.tolist(), int(cycle[0])]]
        raise LabelError(f"the heads go round in a cycle: {' -> '.join(path)}; in a tree they lead to the root")


class DependencyHead(Head):
    """Deep biaffine attention (Dozat and Manning 2017, arXiv 1611.01734) on the first piece of each word: a head for
    each word by softmax over all words and the root, a relation for each arc. Decoded to the best tree."""

    def __init__(self, task: Dependency, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.usual: str = facts["usual"]
        self.root: str | None = facts["root"]
        self.single_root = task.single_root
        self.scorer = BiaffineArcs(
            hidden_size,
            len(self.labels),
            arc_size=task.arc_size,
            relation_size=task.relation_size,
            dropout=task.dropout,
        )

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [P, 1 + C] of each row's (word, head) pairs, by word, then by head from 0: the arc, the relations."""
        chosen_W, cu = unit_places(hidden.batch, rows)
        words_WD = hidden.last[hidden.batch.words[chosen_W]]
        if hidden.batch.real is not None:
            return self.scorer.of_rectangle(words_WD.view(hidden.batch.real.shape[0], -1, words_WD.shape[1]))
        logits_PC: Tensor = self.scorer(words_WD, cu.diff().tolist())
        return logits_PC

    def sizes(self, batch: Batch, rows: Tensor) -> Tensor:
        """Pairs of each row: n * (n + 1) for n words."""
        words_R = batch.cu_words[rows + 1] - batch.cu_words[rows]
        return words_R * (words_R + 1)

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy of the head among all that a word may have, plus that of the relation on the gold arc, in fp32,
        summed over words: the paper's sum of both losses."""
        heads_W, relations_W = targets.values["heads"], targets.values["relations"]
        logits = logits.float()
        if len(heads_W) == 0:
            return logits.sum() * 0.0
        cu = _pairs_of_words(targets)
        arcs_WH1, real_WH = pad(logits[:, :1], cu)
        arcs_WH = arcs_WH1.squeeze(2).masked_fill(~real_WH, -torch.inf)
        arc_loss = F.cross_entropy(arcs_WH, heads_W, reduction="sum", ignore_index=IGNORED)
        known = heads_W != IGNORED
        relations_SC = logits[(cu[:-1] + heads_W)[known], 1:]
        return arc_loss + F.cross_entropy(relations_SC, relations_W[known], reduction="sum")

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of each word's heads, plus those of the relations on its gold arc; summed over words."""
        heads_W = targets.values["heads"]
        if len(heads_W) == 0:
            return (first.sum() + second.sum()) * 0.0
        cu, known = _pairs_of_words(targets), heads_W != IGNORED
        words = torch.arange(len(heads_W), device=first.device)
        word_P = torch.repeat_interleave(words, cu.diff())
        arcs_W = segment_divergence(first[:, 0], second[:, 0], word_P, len(words))
        gold = (cu[:-1] + heads_W)[known]
        return arcs_W[known].sum() + class_divergence(first[gold, 1:], second[gold, 1:]).sum()

    def decoding(self) -> DependencyDecoder:
        """To the best tree."""
        return DependencyDecoder(self.labels, self.usual, self.root, self.single_root)


def _pairs_of_words(targets: Targets) -> Tensor:
    """Offsets [W + 1] of each word's pairs with all heads that it may have."""
    words_R = targets.cu["heads"].diff()
    heads_each_W = torch.repeat_interleave(words_R + 1, words_R)
    return torch.cat([heads_each_W.new_zeros(1), heads_each_W.cumsum(0)])
