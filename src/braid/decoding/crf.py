"""The best tags under a linear-chain conditional random field (Lafferty et al. 2001), and how likely each is.

What such a field learns: `braid.nn.crf`. Shape legend: B sequences, U units of one, L units of the longest, C tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from braid.data.tag_schemes import Scheme, legal, legal_end, legal_start

ILLEGAL = -1e4
"""Score of a first or last tag that is forbidden, in chances; the same as in the loss."""

FORBIDDEN = -1e12
"""Score in decoding of all that is forbidden, beyond what any sum of logits can outweigh. Not -inf: where no legal
sequence exists at all, the one with the fewest offences is found."""

DECODED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Legality:
    """What a scheme allows: *start*, *end* [C]: as first and as last tag; *pairs* [C, C] (from, to): bool."""

    start_C: np.ndarray
    end_C: np.ndarray
    pairs_CC: np.ndarray


@lru_cache(maxsize=64)
def legality(tags: tuple[str, ...], scheme: Scheme) -> Legality:
    """What a scheme allows of an inventory of tags."""
    return Legality(
        np.array([legal_start(tag, scheme) for tag in tags], dtype=bool),
        np.array([legal_end(tag, scheme) for tag in tags], dtype=bool),
        np.array([[legal(before, after, scheme) for after in tags] for before in tags], dtype=bool),
    )


@dataclass(frozen=True, eq=False)
class Chain:
    """Scores of first tags, of last tags [C] and of pairs of tags [C, C] (from, to), float32, and what is legal."""

    start_C: np.ndarray
    end_C: np.ndarray
    pairs_CC: np.ndarray
    legal: Legality

    def decode(self, emissions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The best legal tag ids [U] for the emissions [U, C] of each sequence."""
        start_C, end_C, pairs_CC = (
            np.where(allowed, score, FORBIDDEN)
            for score, allowed in (
                (self.start_C, self.legal.start_C),
                (self.end_C, self.legal.end_C),
                (self.pairs_CC, self.legal.pairs_CC),
            )
        )
        best: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(emissions)
        for chunk in _alike(emissions):
            for k, path in zip(chunk, viterbi([emissions[k] for k in chunk], start_C, end_C, pairs_CC), strict=True):
                best[k] = path
        return best

    def chances(self, emissions: Sequence[np.ndarray], paths: Sequence[np.ndarray]) -> list[np.ndarray]:
        """How likely [U] each tag of a *path* [U] is where it stands, among all sequences of tags: its marginal
        probability, by the forward-backward algorithm in fp64. Legal sequences alone count, unless the path is none,
        as in the loss."""
        found: list[np.ndarray] = [np.empty(0)] * len(paths)
        for chunk in _alike(paths):
            some = [k for k in chunk if len(paths[k])]
            chances = self._marginals([emissions[k] for k in some], [paths[k] for k in some])
            for k, chances_U in zip(some, chances, strict=True):
                found[k] = chances_U
        return found

    def _marginals(self, emissions: Sequence[np.ndarray], paths: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        lengths_B = np.array([len(path) for path in paths])
        scores_LBC = _padded(emissions, lengths_B, len(self.start_C)).swapaxes(0, 1)
        strict_B1 = np.array([self._is_legal(path) for path in paths], dtype=bool)[:, None]
        starts_BC = self.start_C + ILLEGAL * (strict_B1 & ~self.legal.start_C)
        ends_BC = self.end_C + ILLEGAL * (strict_B1 & ~self.legal.end_C)
        free_CC = np.exp(self.pairs_CC.astype(np.float64))
        legal_CC = free_CC * self.legal.pairs_CC
        longest = int(lengths_B.max(initial=0))
        before_LBC, after_LBC = np.empty_like(scores_LBC), np.empty_like(scores_LBC)
        for at in range(longest):
            before_LBC[at] = scores_LBC[at] + (
                starts_BC if at == 0 else _passed(before_LBC[at - 1], strict_B1, legal_CC, free_CC)
            )
        for at in range(longest - 1, -1, -1):
            after_LBC[at] = ends_BC
            going = lengths_B > at + 1
            if going.any():
                given_BC = scores_LBC[at + 1] + after_LBC[at + 1]
                reached_BC = _passed(given_BC, strict_B1, legal_CC.T, free_CC.T)
                after_LBC[at, going] = reached_BC[going]
        log_LBC = before_LBC + after_LBC
        log_LBC -= log_LBC.max(axis=2, keepdims=True, initial=-np.inf)
        np.exp(log_LBC, out=log_LBC)
        for row, path_U in enumerate(paths):
            powers_UC = log_LBC[: len(path_U), row]
            yield powers_UC[np.arange(len(path_U)), path_U] / powers_UC.sum(axis=1)

    def _is_legal(self, path_U: np.ndarray) -> bool:
        passed = self.legal.pairs_CC[path_U[:-1], path_U[1:]].all()
        return bool(passed and self.legal.start_C[path_U[0]] and self.legal.end_C[path_U[-1]])


def _passed(log_BC: np.ndarray, strict_B1: np.ndarray, legal_CC: np.ndarray, free_CC: np.ndarray) -> np.ndarray:
    """Logarithms [B, C] of what tags get over all pairs from what others have, by products of exponentials: in fp64
    these hold what is exp(700) times less likely than the likeliest."""
    highest_B1 = log_BC.max(axis=1, keepdims=True)
    power_BC = np.exp(log_BC - highest_B1)
    reached_BC = power_BC @ legal_CC
    if not strict_B1.all():
        reached_BC = np.where(strict_B1, reached_BC, power_BC @ free_CC)
    return np.asarray(np.log(np.maximum(reached_BC, np.finfo(np.float64).tiny)) + highest_B1)


def viterbi(
    emissions: Sequence[np.ndarray], start_C: np.ndarray, end_C: np.ndarray, pairs_CC: np.ndarray
) -> list[np.ndarray]:
    """The best tag ids [U] of each sequence [U, C], all at once (Viterbi 1967): O(longest x C^2) steps of NumPy.

    *pairs* [C, C]: score of going from one tag to the next. Ties go to the lower id.
    """
    lengths = np.array([len(sequence) for sequence in emissions], dtype=np.int64)
    longest, n_tags = int(lengths.max(initial=0)), len(start_C)
    if longest == 0:
        return [np.empty(0, dtype=np.int64) for _ in emissions]
    scores_BLC = _padded(emissions, lengths, n_tags)
    best_BC = start_C + scores_BLC[:, 0]
    back_LBC = np.broadcast_to(np.arange(n_tags, dtype=np.int32), (longest, len(emissions), n_tags)).copy()
    for at in range(1, longest):
        running = np.flatnonzero(lengths > at)
        reached_BCC = best_BC[running, :, None] + pairs_CC
        back_LBC[at, running] = reached_BCC.argmax(axis=1)
        best_BC[running] = reached_BCC.max(axis=1) + scores_BLC[running, at]
    paths_BL = np.empty((len(emissions), longest), dtype=np.int64)
    paths_BL[:, -1] = (best_BC + end_C).argmax(axis=1)
    rows = np.arange(len(emissions))
    for at in range(longest - 1, 0, -1):
        # Beyond a sequence's end the pointers lead to themselves, so that its last tag is carried to its place.
        paths_BL[:, at - 1] = back_LBC[at, rows, paths_BL[:, at]]
    return [path[:length] for path, length in zip(paths_BL, lengths.tolist(), strict=True)]


def _padded(emissions: Sequence[np.ndarray], lengths_B: np.ndarray, n_tags: int) -> np.ndarray:
    """Emissions [B, L, C] in fp64, 0 behind the end of each sequence."""
    scores_BLC = np.zeros((len(emissions), int(lengths_B.max(initial=0)), n_tags), dtype=np.float64)
    for row, sequence in enumerate(emissions):
        scores_BLC[row, : len(sequence)] = sequence
    return scores_BLC


def _alike(sequences: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """All sequences by number, some of like length at a time."""
    order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
    for first in range(0, len(order), DECODED_AT_ONCE):
        yield order[first : first + DECODED_AT_ONCE]
