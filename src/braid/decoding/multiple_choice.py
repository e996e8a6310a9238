"""multiple_choice: the most probable option of each question.

Shape legend: N options of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from braid.data.example import Example
from braid.decoding.base import Decoder, Prediction
from braid.decoding.probabilities import softmax


@dataclass(frozen=True)
class Choice(Prediction):
    """The most probable option, its place among the options (from 0), and the probability of each."""

    option: str
    index: int
    probabilities: list[float]


@dataclass(frozen=True)
class MultipleChoiceDecoder(Decoder):
    """Softmax over the options of each example."""

    kind: ClassVar[str] = "multiple_choice"

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Choice]:
        """The most probable option of each example; of equal ones the first."""
        out = []
        for scores_N1, example in zip(logits, examples, strict=True):
            probabilities_N = softmax(scores_N1[:, 0])
            best, options = int(probabilities_N.argmax()), example.options or ()
            out.append(Choice(options[best] if options else "", best, probabilities_N.tolist()))
        return out
