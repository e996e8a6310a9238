"""tagging: the best tags of a text, and the spans that they mark.

Shape legend: U units of one example, N units of all, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.data.tag_schemes import Scheme, spans_of
from braid.decoding.base import Decoder, Prediction
from braid.decoding.crf import Chain, legality
from braid.decoding.probabilities import softmax


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` (exclusive) of the user's text, and the mean probability of their tags."""

    start: int
    end: int
    text: str
    label: str
    score: float


@dataclass(frozen=True)
class Tags(Prediction):
    """What the tags mark, in order of the text, and the tag of each unit."""

    spans: list[Span]
    tags: list[str]


@dataclass(frozen=True, eq=False)
class TaggingDecoder(Decoder):
    """*labels*: the tags; *scheme*: how they mark spans. With a CRF its scores: *start_C*, *end_C* [C], *pairs_CC*
    [C, C] (from, to)."""

    kind: ClassVar[str] = "tagging"

    labels: list[str]
    scheme: Scheme
    start_C: np.ndarray | None = None
    end_C: np.ndarray | None = None
    pairs_CC: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        wanted = {"start_C": (n,), "end_C": (n,), "pairs_CC": (n, n)}
        shapes = {name: value.shape for name in wanted if (value := getattr(self, name)) is not None}
        if shapes and shapes != wanted:
            raise ValueError(f"{n} tags need CRF scores of the shapes {wanted}, not {shapes}")

    @cached_property
    def _chain(self) -> Chain | None:
        if self.start_C is None or self.end_C is None or self.pairs_CC is None:
            return None
        return Chain(self.start_C, self.end_C, self.pairs_CC, legality(tuple(self.labels), self.scheme))

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Tags]:
        """Best tags of whole texts and the spans that they mark. With a CRF tags are the best legal sequence, and a tag
        is as likely as all legal sequences that have it there."""
        if not logits:
            return []
        # All texts at once: most are short, and numpy is slow on many small arrays.
        ends = np.cumsum([len(logits_UC) for logits_UC in logits])[:-1]
        if self._chain is None:
            joined_NC = np.concatenate(list(logits))
            best_N = joined_NC.argmax(axis=1)
            sure_N = np.take_along_axis(softmax(joined_NC), best_N[:, None], axis=1)[:, 0]
        else:
            paths = self._chain.decode(logits)
            best_N, sure_N = np.concatenate(paths), np.concatenate(self._chain.chances(logits, paths))
        return [
            self._tags(path_U, sure_U, example, units_U2)
            for path_U, sure_U, example, units_U2 in zip(
                np.split(best_N, ends), np.split(sure_N, ends), examples, units, strict=True
            )
        ]

    def _tags(self, path_U: np.ndarray, sure_U: np.ndarray, example: Example, units_U2: np.ndarray) -> Tags:
        assert len(path_U) == len(units_U2)
        tags = [self.labels[k] for k in path_U.tolist()]
        sure, places = sure_U.tolist(), units_U2.tolist()
        spans = []
        for first, last, label in spans_of(tags, self.scheme):
            start, end = places[first][0], places[last - 1][1]
            spans.append(Span(start, end, example.text[start:end], label, sum(sure[first:last]) / (last - first)))
        return Tags(spans, tags)
