"""span: the best answer to a question in its context, or none.

Shape legend: U units of one example's context. The 4 logits of a unit: start and end of the answer here, and its
window's scores for "no answer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.best_spans import Spans, best_spans, best_threshold
from braid.metrics.answers import SCORERS, Scorer


@dataclass(frozen=True)
class Candidate:
    """Characters `start` to `end` (exclusive) of the context, and their probability."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer(Prediction):
    """Characters `start` to `end` (exclusive) of the user's own `pair`. No answer: `text` is empty, `start` and `end`
    are None. *score*: probability among all spans within the length limit and, where the task knows it, no answer.
    *nbest*: with `n_best` > 1 the best spans, the best one first, whether or not an answer is given."""

    text: str
    start: int | None
    end: int | None
    score: float
    nbest: list[Candidate]


@dataclass(frozen=True)
class SpanDecoder(Decoder):
    """*longest*: units of an answer; *n_best*: how many spans are listed; *no_answer*: whether there may be none, which
    is said where it beats the best span by more than *null_threshold*; *scorer*: by whose F1 that is tuned."""

    kind: ClassVar[str] = "span"

    longest: int
    n_best: int
    no_answer: bool
    scorer: Scorer
    null_threshold: float = 0.0

    @property
    def tunes(self) -> bool:
        """The threshold."""
        return True

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Answer]:
        """The best span over all windows of each example, or none where "no answer" beats it by more than the
        threshold."""
        return [
            self._answer(logits_U4, example.pair or "", units_U2)
            for logits_U4, example, units_U2 in zip(logits, examples, units, strict=True)
        ]

    def tuned(
        self,
        logits: Sequence[np.ndarray],
        golds: Sequence[Sequence[str]],
        examples: Sequence[Example],
        units: Sequence[np.ndarray],
    ) -> Self:
        """With the threshold that makes F1 highest."""
        if not self.no_answer or not golds:
            return self
        score = SCORERS[self.scorer]
        margins, answered, declined = [], [], []
        for logits_U4, gold, example, units_U2 in zip(logits, golds, examples, units, strict=True):
            spans, null = self._search(logits_U4, 1)
            if len(spans.units):
                margins.append(null - spans.scores[0])
                answered.append(score(_cut(spans.units[0], example.pair or "", units_U2)[2], gold)[0])
                declined.append(score("", gold)[0])
        if not margins:
            return self
        threshold = best_threshold(np.array(margins, np.float32), np.array(answered), np.array(declined))
        return replace(self, null_threshold=threshold)

    def _search(self, logits_U4: np.ndarray, n: int) -> tuple[Spans, float]:
        """The best spans, and the score for no answer: -inf where the task knows none."""
        spans = best_spans(logits_U4[:, 0], logits_U4[:, 1], longest=self.longest, n=n)
        known = self.no_answer and len(logits_U4)
        return spans, float(logits_U4[:, 2:].min(axis=0).sum(dtype=np.float64)) if known else -np.inf

    def _answer(self, logits_U4: np.ndarray, context: str, units_U2: np.ndarray) -> Answer:
        assert len(logits_U4) == len(units_U2)
        if not len(units_U2):
            return Answer("", None, None, 1.0, [])
        spans, null = self._search(logits_U4, self.n_best)
        scores = np.exp(spans.scores - np.logaddexp(spans.total, null))
        found = []
        for place, score in zip(spans.units, scores.tolist(), strict=True):
            start, end, text = _cut(place, context, units_U2)
            found.append(Candidate(text, start, end, score))
        nbest = found if self.n_best > 1 else []
        if np.float32(null - spans.scores[0]) > self.null_threshold:
            return Answer("", None, None, float(np.exp(null - np.logaddexp(spans.total, null))), nbest)
        return Answer(found[0].text, found[0].start, found[0].end, found[0].score, nbest)


def _cut(place: np.ndarray, context: str, units_U2: np.ndarray) -> tuple[int, int, str]:
    """Characters of the context from a first to a last unit: start, end, text."""
    start, end = int(units_U2[place[0], 0]), int(units_U2[place[1], 1])
    return start, end, context[start:end]
