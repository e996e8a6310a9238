"""Nearest neighbours of words: by the table of the tokens' vectors, and by hidden states in a sentence.

Shape legend: T tokens of a batch, C candidates, M size of the table's vectors, D hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braid.data.cache import TokenRows
from braid.data.example import Example
from braid.data.tokens import Tokenizer
from braid.data.units import CJK
from braid.errors import BraidError, nearest
from braid.predict.features import Reader, check_layer, layer_states
from braid.predict.vectors import CHUNK

_CJK = re.compile(f"[{CJK}]")
Told = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Neighbour:
    """A candidate and the cosine between its vector and the word's."""

    word: str
    cosine: float


@dataclass(frozen=True)
class Neighbours:
    """The candidates nearest to *word*, the nearest first; *text* and *start*: the sentence in which it was compared,
    and where it stands there; None: without any."""

    word: str
    neighbours: tuple[Neighbour, ...]
    text: str | None = None
    start: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        place = {} if self.text is None else {"text": self.text, "start": self.start}
        found = [{"word": one.word, "cosine": round(one.cosine, 6)} for one in self.neighbours]
        return {"word": self.word, **place, "neighbours": found}


def vocabulary_words(tokenizer: Tokenizer) -> dict[str, int]:
    """The tokens that are words, or characters, by themselves: a text of nothing else becomes just this token. Pieces
    that only continue a word (`##ing`), special tokens and parts of a character are not."""
    special = tokenizer.special_ids
    ids = [number for number in range(tokenizer.vocab_size) if number not in special]
    texts = [tokenizer.decode([number]).strip() for number in ids]
    pieces = tokenizer.encode_ids([_spoken(text) for text in texts])
    return {
        text: number
        for text, number, found in zip(texts, ids, pieces, strict=True)
        if text and len(found) == 1 and int(found[0]) == number
    }


def _spoken(word: str) -> str:
    """A word as it stands within a text: vocabularies of byte pairs know words by the space in front of them."""
    return word if _CJK.match(word) else f" {word}"


def pieces_of(words: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    """Ids of the tokens of words. Raises BraidError naming all that have none, or nothing but [UNK]."""
    found = [ids[ids != tokenizer.unk_id] for ids in tokenizer.encode_ids([_spoken(word) for word in words])]
    unknown = [word for word, ids in zip(words, found, strict=True) if not len(ids)]
    if unknown:
        known = vocabulary_words(tokenizer)
        near = ((word, nearest(word, known)) for word in unknown[:20])
        told = ", ".join(f"{word!r}" + (f" (near: {other!r})" if other else "") for word, other in near)
        raise BraidError(f"the vocabulary of {tokenizer.vocab_size:,} tokens has no piece of {told}")
    return found


def word_vectors(words: Sequence[str], tokenizer: Tokenizer, table_VM: np.ndarray) -> np.ndarray:
    """[n, M]: the words' rows of the table, of a word of several pieces their mean. Raises BraidError for unknown
    words."""
    return np.stack([table_VM[ids].mean(0) for ids in pieces_of(words, tokenizer)])


def by_table(
    words: Sequence[str], tokenizer: Tokenizer, table_VM: np.ndarray, *, candidates: Sequence[str] | None, top: int
) -> list[Neighbours]:
    """The *top* candidates (None: the words of the vocabulary; unknown ones are left out) nearest to each word, by the
    cosine of their vectors in the table [V, M]; the word itself is not one. Raises BraidError for unknown words."""
    vectors = word_vectors(words, tokenizer, table_VM)
    if candidates is None:
        known = vocabulary_words(tokenizer)
        names, candidate_CM = list(known), table_VM[list(known.values())]
    else:
        names, _ = known_words(candidates, tokenizer)
        candidate_CM = word_vectors(names, tokenizer, table_VM)
    cosines = _unit(vectors) @ _unit(candidate_CM).T
    return [Neighbours(word, _best(word, names, row, top)) for word, row in zip(words, cosines, strict=True)]


def in_context(
    reader: Reader,
    text: str,
    word: str,
    *,
    candidates: Sequence[str] | None,
    top: int,
    layer: int = -1,
    told: Told = lambda doing, done, total: None,
) -> Neighbours:
    """The *top* candidates (None: the words of the vocabulary; unknown ones are left out) that, put where *word* stands
    in a text, have hidden states of a *layer* there that are nearest to the word's own, by cosine: the mean over each
    one's pieces.

    Of several places the first counts at which the tokenizer cuts the word out. Raises BraidError where there is
    none."""
    check_layer(reader.network, layer)
    if candidates is None:
        names = list(vocabulary_words(reader.tokenizer))
    else:
        names, _ = known_words(candidates, reader.tokenizer)
    names = [name for name in names if name != word]
    start = _place(reader, text, word)
    own_D = next(_states(reader, [text], [(start, len(word))], layer))
    assert own_D is not None
    found: list[np.ndarray | None] = []
    for first in range(0, len(names), CHUNK):
        some = names[first : first + CHUNK]
        texts = [text[:start] + name + text[start + len(word) :] for name in some]
        found += _states(reader, texts, [(start, len(name)) for name in some], layer)
        told(f"comparing with {len(names):,} candidates", len(found), len(names))
    kept = [(name, state) for name, state in zip(names, found, strict=True) if state is not None]
    if not kept:
        raise BraidError("no candidate can be put in place of the word")
    cosines = _unit(np.stack([state for _, state in kept])) @ _unit(own_D[None])[0]
    return Neighbours(word, _best(word, [name for name, _ in kept], cosines, top), text, start)


def _place(reader: Reader, text: str, word: str) -> int:
    """Where a word stands in a text. Raises BraidError."""
    places = [match.start() for match in re.finditer(re.escape(word), text)] if word else []
    if not places:
        raise BraidError(f"{word!r} does not stand in {text!r}")
    rows = reader.rows([Example(text)])
    for start in places:
        inside = _inside(rows, 0, start, len(word))
        if len(inside) and _covered(rows, 0, inside, text) == word.strip():
            return start
    cut = " (the text is longer than the encoder reads)" if rows.truncated.any() else ""
    pieces = " ".join(reader.tokenizer.tokens(rows.column("ids", 0).tolist()))
    raise BraidError(f"{word!r} is no word of its own in {text!r}: its tokens are {pieces}{cut}")


def _inside(rows: TokenRows, row: int, start: int, size: int) -> np.ndarray:
    """Which tokens of a row cover characters of a place."""
    offsets = rows.column("offsets", row).reshape(-1, 2)
    return np.flatnonzero((offsets[:, 0] < start + size) & (offsets[:, 1] > start))


def _covered(rows: TokenRows, row: int, tokens: np.ndarray, text: str) -> str:
    offsets = rows.column("offsets", row).reshape(-1, 2)[tokens]
    return text[offsets[:, 0].min() : offsets[:, 1].max()].strip()


def _states(
    reader: Reader, texts: Sequence[str], places: Sequence[tuple[int, int]], layer: int
) -> Iterator[np.ndarray | None]:
    """Mean hidden state [D] at a place (start, length) of each text; None where no known token stands."""
    examples = [Example(text) for text in texts]
    rows, unknown = reader.rows(examples), reader.tokenizer.unk_id
    found: dict[int, np.ndarray] = {}
    for numbers, hidden in reader.read(examples, rows):
        states_TD = layer_states(hidden, layer).float().cpu().numpy()
        for number, tokens in zip(numbers, hidden.batch, strict=True):
            inside = _inside(rows, number, *places[number])
            inside = inside[rows.column("ids", number)[inside] != unknown] if unknown is not None else inside
            if len(inside):
                found[number] = states_TD[tokens][inside].mean(0)
    return (found.get(number) for number in range(len(texts)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out: np.ndarray = vectors / np.maximum(size, 1e-12)
    return out


def _best(word: str, names: Sequence[str], cosines: np.ndarray, top: int) -> tuple[Neighbour, ...]:
    order = (int(k) for k in np.argsort(-cosines, kind="stable"))
    kept = [Neighbour(names[k], float(cosines[k])) for k in order if names[k] != word]
    return tuple(kept[:top])


def known_words(words: Sequence[str], tokenizer: Tokenizer) -> tuple[list[str], int]:
    """Words without repetitions and special tokens, as far as the vocabulary has pieces of them; and of how many it has
    none. Raises BraidError where it knows none at all."""
    special = set(tokenizer.tokens(sorted(tokenizer.special_ids)))
    names = list(dict.fromkeys(word.strip() for word in words if word.strip() and word.strip() not in special))
    pieces = tokenizer.encode_ids([_spoken(name) for name in names])
    known = [name for name, ids in zip(names, pieces, strict=True) if (ids != tokenizer.unk_id).any()]
    if not known:
        raise BraidError(f"the vocabulary knows none of the candidates ({len(names):,} words)")
    return known, len(names) - len(known)
