"""Which tokens of a row are masked, and by what (BERT, arXiv 1810.04805, section 3.1 and appendix A.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.tokens import Tokenizer

Mask = Literal["token", "whole_word", "span"]


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """*rate*: share of tokens that are predicted; of these *masked* are replaced by the mask, *random* by a random
    token, the rest is kept. *units*: what is chosen at once; spans have geometric lengths with success probability
    *span_p*, at most *span_longest* words (SpanBERT, arXiv 1907.10529, section 3.1)."""

    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    units: Mask = "token"
    span_p: float = 0.2
    span_longest: int = 10


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What masking knows of the tokenizer: the *mask* token, *special* and *continues* [V] bool (tokens that go on with
    the word before them), and *plain* [n]: ids of the tokens that may stand for others."""

    mask: int
    special: np.ndarray
    continues: np.ndarray
    plain: np.ndarray


def masked(
    ids: np.ndarray, starts: np.ndarray | None, vocabulary: Vocabulary, options: MaskOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The row with some tokens replaced, and the places [n], ascending, whose own tokens are to be predicted.

    *starts* [T]: which tokens begin a word; None: all but the vocabulary's continuations."""
    allowed = np.flatnonzero(~vocabulary.special[ids])
    if len(allowed) == 0:
        return ids, allowed
    wanted = max(1, round(len(allowed) * options.rate))
    if options.units == "token":
        places = np.sort(rng.permutation(allowed)[:wanted])
        keys = np.arange(len(places))
    else:
        begins = ~vocabulary.continues[ids] if starts is None else starts & ~vocabulary.continues[ids]
        words = _words(allowed, begins)
        places, keys = (
            _whole(words, wanted, rng) if options.units == "whole_word" else _spans(words, wanted, options, rng)
        )
    # SpanBERT replaces a whole span in one way; so each unit draws once.
    chance = rng.random(int(keys.max()) + 1)[keys]
    out = ids.copy()
    out[places[chance < options.masked]] = vocabulary.mask
    swapped = places[(chance >= options.masked) & (chance < options.masked + options.random)]
    out[swapped] = vocabulary.plain[rng.integers(len(vocabulary.plain), size=len(swapped))]
    return out, places


def _words(allowed: np.ndarray, begins: np.ndarray) -> list[np.ndarray]:
    """The places of each word; a special token always ends one."""
    gap = np.diff(allowed, prepend=-2) > 1
    return np.split(allowed, np.flatnonzero(begins[allowed] | gap)[1:])


def _whole(words: list[np.ndarray], wanted: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whole words until there are enough tokens; one that would be too much is left out, as BERT does. Each token is
    replaced on its own."""
    chosen: list[np.ndarray] = []
    size = 0
    for number in rng.permutation(len(words)).tolist():
        if size and size + len(words[number]) > wanted:
            continue
        chosen.append(words[number])
        size += len(words[number])
        if size >= wanted:
            break
    places = np.sort(np.concatenate(chosen))
    return places, np.arange(len(places))


def _spans(
    words: list[np.ndarray], wanted: int, options: MaskOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Runs of whole words, their lengths drawn from a geometric distribution that is cut off, not folded."""
    sizes = np.arange(1, options.span_longest + 1)
    weights = (1 - options.span_p) ** (sizes - 1) * options.span_p
    weights /= weights.sum()
    taken = np.zeros(len(words), dtype=bool)
    chosen: dict[int, int] = {}
    size = 0
    for number in range(4 * len(words)):
        if size >= wanted:
            break
        first = int(rng.integers(len(words)))
        span = range(first, min(len(words), first + int(rng.choice(sizes, p=weights))))
        for word in span:
            if taken[word] or size >= wanted:
                break
            taken[word] = True
            size += len(words[word])
            chosen.update(dict.fromkeys(words[word].tolist(), number))
    places = np.array(sorted(chosen), dtype=np.int64)
    names = {key: k for k, key in enumerate(dict.fromkeys(chosen[place] for place in places.tolist()))}
    return places, np.array([names[chosen[place]] for place in places.tolist()], dtype=np.int64)


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """What masking must know of a tokenizer. `mask` is -1 where it has no mask token."""
    size = tokenizer.vocab_size
    special, continues = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    special[list(tokenizer.special_ids)] = True
    tokens = tokenizer.rust.get_vocab(with_added_tokens=True)
    # Byte-level and SentencePiece vocabularies mark what begins a word, WordPiece what does not.
    marks = ("Ġ", "▁")
    marked = sum(token.startswith(marks) for token in tokens) > len(tokens) // 20
    for token, number in tokens.items():
        continues[number] = not token.startswith(marks) if marked else token.startswith("##") and len(token) > 2
    mask = tokenizer.mask_id
    continues &= ~special
    return Vocabulary(
        mask=-1 if mask is None else mask,
        special=special,
        continues=continues,
        plain=np.flatnonzero(~special & np.isin(np.arange(size), list(tokens.values()))),
    )
