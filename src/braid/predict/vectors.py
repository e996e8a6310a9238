"""Vectors of texts, as they come: of whole texts, or of each token.

Shape legend: n texts or tokens, D size of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.example import Example

FeaturePooling = Literal["cls", "mean", "max", "weighted"]
"""One vector of a text's hidden states: the first token's, or the mean, the maximum, or the position-weighted mean of
all, special tokens included (see `braid.nn.pooling.Pooler`)."""

CHUNK = 1024
"""Texts held at a time: enough to sort by length, few enough to stay small in memory."""


@dataclass(frozen=True, eq=False)
class TokenFeatures:
    """Hidden states of one text's tokens, special ones left out: *tokens* as the vocabulary spells them, *offsets*
    [n, 2] in characters of the text, *vectors* [n, D] float32."""

    tokens: tuple[str, ...]
    offsets: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True, eq=False)
class Pooled:
    """Some texts, one vector each: *vectors* [n, D] float32; *cut*: how many were too long and lost their end."""

    examples: Sequence[Example]
    vectors: np.ndarray
    cut: int


@dataclass(frozen=True, eq=False)
class OfTokens:
    """Some texts, each with the features of its tokens; *cut*: as for `Pooled`."""

    examples: Sequence[Example]
    features: Sequence[TokenFeatures]
    cut: int


Pooling = Callable[[Iterable[Example]], Iterator[Pooled]]
"""Texts, streamed, to one vector of each."""
