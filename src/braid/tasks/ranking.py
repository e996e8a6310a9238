"""ranking: candidates (`pair`) of a query (`text`), ordered by how well they answer it.

Shape legend: R rows (query and candidate), Q queries, D hidden size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.decoding.base import Need, Together
from braid.decoding.ranking import Ranked as Ranked
from braid.decoding.ranking import RankingDecoder, query_of
from braid.errors import LabelError, Place
from braid.metrics.ranking import RankingMeter
from braid.nn.divergence import binary_divergence, segment_divergence
from braid.nn.linear import Linear
from braid.nn.segments import segment_logsumexp
from braid.tasks.base import Facts, Head, Hidden, Target
from braid.tasks.regression import number
from braid.tasks.row import RowTask


class Ranking(RowTask):
    """Candidates of a query, ordered by relevance."""

    type: Literal["ranking"] = "ranking"
    hub_task: ClassVar[str] = "text-ranking"
    together: ClassVar[Together] = "query"
    document: ClassVar[Literal["row", "text", "pair"]] = "text"
    main_metric: ClassVar[str] = "map"
    comparable: ClassVar[bool] = True

    loss: Literal["listwise", "pointwise", "pairwise"] = "listwise"
    """`listwise`: the negative log-likelihood of each relevant candidate in a softmax over its query's candidates
    (MT-DNN, arXiv 1901.11504, equation 5). `pointwise`: binary cross-entropy of each candidate by itself.
    `pairwise`: a relevant candidate's score should pass each less relevant one's by `margin`."""

    margin: float = Field(default=1.0, gt=0)
    """For `pairwise`."""

    @property
    def need(self) -> Need:
        """A candidate."""
        return Need("pair", "it needs a `pair`, the candidate (`text` is the query)")

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`highest`: the highest relevance.

        Raises LabelError where no row is relevant, or one is less than 0."""
        found = [relevance(label) for label in labels]
        if not found:
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        if max(found) <= 0:
            raise LabelError("no training row is relevant (has a label above 0); there is nothing to rank first")
        return {"highest": max(found)}

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`relevance` [1]; `query` [1]: a number that rows of one query share."""
        if window.number:
            return None
        digest = hashlib.blake2b(query_of(example).encode("utf-8", "surrogatepass"), digest_size=7).digest()
        return {
            "relevance": np.array([relevance(label)], dtype=np.float32),
            "query": np.array([int.from_bytes(digest)], dtype=np.int64),
        }

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> tuple[str, float]:
        """The query and the relevance."""
        return query_of(example), relevance(label)

    def count(self, target: Target) -> int:
        """1 a relevant candidate; with `pointwise` 1 a candidate."""
        return int(self.loss == "pointwise" or target["relevance"][0] > 0)

    def remarks(self, rows: Iterable[tuple[Any, Example]]) -> dict[str, list[Place | None]]:
        """Queries without a relevant candidate, which teach nothing and count in no figure; without any other."""
        relevant: dict[str, bool] = {}
        candidates: dict[str, int] = {}
        first: dict[str, Place | None] = {}
        for label, example in rows:
            query = query_of(example)
            first.setdefault(query, example.place)
            relevant[query] = relevant.get(query, False) or relevance(label) > 0
            candidates[query] = candidates.get(query, 0) + 1
        found = {
            "queries without a relevant candidate (left out of loss and figures)": [
                place for query, place in first.items() if not relevant[query]
            ],
            "queries with one candidate": [place for query, place in first.items() if candidates[query] == 1],
        }
        return {what: places for what, places in found.items() if places}

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear."""
        return RankingHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> RankingMeter:
        """map, mrr, p_at_1, ndcg, ndcg_at_10."""
        return RankingMeter()

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Questions with four candidates each, one of which (now and then two) answers."""
        places = ("Rome", "Oslo", "Lima", "Kyoto")
        rows = []
        for k in range(n):
            asked, told = places[(k // 4) % 4], places[k % 4]
            right = 2 if asked == told else int(k % 8 == 5)
            where = asked if right else told
            rows.append(
                {
                    "query": f"q{k // 4}",
                    "text": f"who went to {asked} ?",
                    "pair": f"{'perhaps' if right == 1 else 'surely'} {k} went to {where}",
                    "label": right,
                }
            )
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """The relevance itself [1, 1]."""
        return target["relevance"].astype(np.float32).reshape(1, 1)

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The relevance."""
        return [f"{relevance(label):g}"]


class RankingHead(Head):
    """Row features and one output: the score of a candidate."""

    def __init__(self, task: Ranking, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.kind, self.margin, self.highest = task.loss, task.margin, float(facts["highest"])
        self.features = task.features(hidden_size)
        self.output = Linear(hidden_size, 1)

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Scores [R, 1]."""
        scores_R1: Tensor = self.output(self.features(hidden.last, hidden.batch, rows))
        return scores_R1

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """In fp32, summed over relevant candidates (`pointwise`: over all). A query without a relevant one adds 0 to
        the losses that compare. Where relevance is graded, `listwise` weighs a candidate by its share of the highest
        grade, and `pointwise` has this share as its target."""
        score_R, grade_R = logits.float().squeeze(1), targets.values["relevance"] / self.highest
        if self.kind == "pointwise":
            return F.binary_cross_entropy_with_logits(score_R, grade_R, reduction="sum")
        queries, query_R = torch.unique(targets.values["query"], return_inverse=True)
        if self.kind == "listwise":
            total_Q = segment_logsumexp(score_R, query_R, len(queries))
            return (grade_R * (total_Q[query_R] - score_R)).sum()
        return _pairwise(score_R, grade_R, query_R, self.margin)

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of relevance (`pointwise`), summed over candidates; else of the softmax over the
        candidates of each query, summed over queries."""
        if self.kind == "pointwise":
            return binary_divergence(first, second).sum()
        queries, query_R = torch.unique(targets.values["query"], return_inverse=True)
        return segment_divergence(first.squeeze(1), second.squeeze(1), query_R, len(queries)).sum()

    def decoding(self) -> RankingDecoder:
        """Scores (of `pointwise` probabilities) and ranks."""
        return RankingDecoder(probabilities=self.kind == "pointwise")


def _pairwise(score_R: Tensor, grade_R: Tensor, query_R: Tensor, margin: float) -> Tensor:
    """The hinge of each relevant candidate against the less relevant ones of its query, their mean, summed."""
    above_RR = (query_R[:, None] == query_R) & (grade_R[:, None] > grade_R)
    hinge_RR = (margin - score_R[:, None] + score_R).clamp(min=0) * above_RR
    return (hinge_RR.sum(dim=1) / above_RR.sum(dim=1).clamp(min=1)).sum()


def relevance(label: Any) -> float:
    """A label as a relevance. Raises LabelError for anything but a number of 0 or more."""
    value = number(label)
    if value < 0:
        raise LabelError(f"the relevance is {value:g}; expected 0 (not relevant) or more")
    return value
