"""ranking: candidates of a query, ordered by their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.probabilities import sigmoid


@dataclass(frozen=True)
class Ranked(Prediction):
    """How well the candidate answers its query, and its place among those that were predicted with it, from 1."""

    score: float
    rank: int


@dataclass(frozen=True)
class RankingDecoder(Decoder):
    """Scores as they are; *probabilities*: as probabilities of relevance."""

    kind: ClassVar[str] = "ranking"

    probabilities: bool = False

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Ranked]:
        """Scores and ranks among the examples of one query; of equal scores the first stands first."""
        scores = [float((sigmoid(row_11) if self.probabilities else row_11)[0, 0]) for row_11 in logits]
        members: dict[str, list[int]] = {}
        for place, example in enumerate(examples):
            members.setdefault(query_of(example), []).append(place)
        ranks = [0] * len(scores)
        for places in members.values():
            for rank, place in enumerate(sorted(places, key=lambda k: -scores[k]), start=1):
                ranks[place] = rank
        return [Ranked(score, rank) for score, rank in zip(scores, ranks, strict=True)]


def query_of(example: Example) -> str:
    """What tells candidates of one query from those of another: its id, else its text."""
    return example.text if example.query is None else example.query
