"""Documents -> one part of a token shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.corpus.documents import pieces
from braid.data.corpus.shards import Part
from braid.data.tokens import Tokenizer, clean
from braid.errors import BraidError

SENTENCE_ENDS = frozenset("。！？!?…．.；;")
Words = Literal["none", "jieba"]
"""Who says where words begin, beside the vocabulary itself."""

Splitter = Callable[[str], list[str]]


@dataclass(frozen=True)
class Line:
    """A piece of text to tokenise. *ends*: the sentence, and the document, end with it."""

    text: str
    ends_sentence: bool
    ends_document: bool


def sentence_ends(tokenizer: Tokenizer) -> np.ndarray:
    """[V] bool: which tokens end a sentence."""
    ends = np.zeros(tokenizer.vocab_size, dtype=bool)
    for token, number in tokenizer.rust.get_vocab(with_added_tokens=True).items():
        ends[number] = token.removeprefix("##").lstrip("Ġ▁") in SENTENCE_ENDS
    if not ends.any():
        # Byte-level vocabularies spell what is not ASCII in other letters.
        for mark in SENTENCE_ENDS:
            ids = tokenizer.rust.encode(mark, add_special_tokens=False).ids
            if len(ids) == 1:
                ends[ids[0]] = True
    return ends


def part_of(documents: Sequence[str], tokenizer: Tokenizer, ends_V: np.ndarray, *, words: Words = "none") -> Part:
    """Tokens of documents with the index of their sentences.

    The lines of a document that has several are its sentences; else one ends behind each token that `ends_V` names."""
    lines = [line for document in documents for line in _lines(document)]
    starts: list[np.ndarray] | None = None
    if words == "jieba":
        rows, starts = _with_words([line.text for line in lines], tokenizer, jieba_splitter())
    else:
        rows = tokenizer.encode_ids([line.text for line in lines])
    kind = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    ids_T = np.concatenate([np.empty(0, kind), *rows]).astype(kind)
    bounds = np.cumsum([0, *(len(row) for row in rows)])
    closes_T = np.zeros(len(ids_T) + 1, dtype=bool)
    alone = _single_lines(lines)
    closes_T[1:] = ends_V[ids_T] & np.repeat(alone, np.diff(bounds))
    stop_sentence = np.fromiter((line.ends_sentence for line in lines), dtype=bool, count=len(lines))
    closes_T[bounds[1:][stop_sentence]] = True
    closes_T[0] = False
    sentences = np.flatnonzero(closes_T)
    stop_document = np.fromiter((line.ends_document for line in lines), dtype=bool, count=len(lines))
    documents_ends = np.searchsorted(sentences, bounds[1:][stop_document], side="right")
    characters = np.fromiter((len(document) for document in documents), dtype=np.int64, count=len(documents))
    return Part(
        ids=ids_T,
        sentences=sentences.astype(np.int64),
        documents=documents_ends.astype(np.int64),
        characters=characters,
        starts=None if starts is None else np.concatenate([np.empty(0, bool), *starts]),
    )


def _lines(document: str) -> Iterator[Line]:
    texts = [line for line in document.split("\n") if line.strip()] or [document]
    for number, text in enumerate(texts):
        last = number == len(texts) - 1
        parts = pieces(text)
        for k, piece in enumerate(parts):
            whole = k == len(parts) - 1
            yield Line(piece, whole and (last or len(texts) > 1), whole and last)


def _single_lines(lines: Sequence[Line]) -> np.ndarray:
    """[lines] bool: those of documents with one line, whose sentences are found by their tokens."""
    alone = np.ones(len(lines), dtype=bool)
    first, sentences = 0, 0
    for number, line in enumerate(lines):
        sentences += line.ends_sentence
        if line.ends_document:
            alone[first : number + 1] = sentences <= 1
            first, sentences = number + 1, 0
    return alone


def jieba_splitter() -> Splitter:
    """jieba's segmentation. Raises BraidError where it is not installed."""
    try:
        import jieba
    except ImportError as error:
        raise BraidError("splitting Chinese words needs jieba: pip install 'braid-nlp[zh]'") from error
    jieba.setLogLevel("ERROR")
    return lambda text: list(jieba.cut(text))


def _with_words(
    texts: Sequence[str], tokenizer: Tokenizer, split: Splitter
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Ids of each text, and which of them begin a word."""
    rows, starts = [], []
    for text, tokens in zip(texts, tokenizer.encode_batch(texts), strict=True):
        begins = np.zeros(len(text) + 1, dtype=bool)
        place = 0
        for word in split(clean(text)):
            begins[place] = True
            place += len(word)
        rows.append(tokens.ids)
        # A piece that begins inside a word may still follow the space in front of it.
        starts.append(begins[np.minimum(tokens.offsets[:, 0], len(text))])
    return rows, starts
