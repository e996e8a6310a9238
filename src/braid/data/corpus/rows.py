"""Token shards -> rows of the encoder's length, each made anew whenever it is drawn.

Which tokens a row has is fixed; what is done to them (which sentence follows, which tokens are masked) depends on the
draw. A row is a stretch of one part's tokens.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from braid.data.changes import Drawn
from braid.data.corpus.shards import Corpus, Part
from braid.data.tokens import Template
from braid.errors import BraidError

Fill = Literal["document", "full", "text"]
"""What a row holds. `document`: as many whole sentences of one document as it has room for (BERT). `full`: the same,
on into the next document behind a separator (RoBERTa's FULL-SENTENCES). `text`: one document, cut where too long."""

Pairing = Literal["none", "next", "order"]
"""`next`: two stretches of text, the second in half of the rows from another document (BERT). `order`: two stretches of
text, in half of the rows in the wrong order (ALBERT)."""


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How a corpus becomes rows. *max_length*: tokens of a row, special tokens included; *short*: share of rows that
    are made shorter than they could be, at random (BERT: 0.1)."""

    max_length: int
    fill: Fill = "document"
    pairing: Pairing = "none"
    short: float = 0.0


class CorpusRows:
    """Rows of some of a corpus's documents: `lengths` [n] is how many tokens each may have at most.

    *chosen*: document number (through all parts) -> whether its rows are among these; None: all.
    *left_out*: reason -> documents without a row."""

    def __init__(
        self,
        corpus: Corpus,
        template: Template,
        options: RowOptions,
        *,
        seed: int,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.corpus, self.template, self.options = corpus, template, options
        cost = template.single_cost if options.pairing == "none" else template.pair_cost
        self.room = options.max_length - cost
        if self.room < 2:
            raise BraidError(f"max_length {options.max_length} leaves no room for text beside the special tokens")
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0x726F7773]))
        found = [_Filler(part, self, rng) for part in corpus.parts]
        first, rows = 0, []
        self.left_out: dict[str, int] = {}
        for number, filler in enumerate(found):
            size = len(corpus.parts[number].documents)
            part_chosen = None if chosen is None else chosen[first : first + size]
            made = np.array(list(filler.rows(part_chosen)), dtype=np.int64).reshape(-1, 3)
            made[:, 2] += first
            rows.append(np.concatenate([np.full((len(made), 1), number), made], axis=1))
            for reason, count in filler.left_out.items():
                self.left_out[reason] = self.left_out.get(reason, 0) + count
            first += size
        table = np.concatenate(rows) if rows else np.empty((0, 4), np.int64)
        self.part, self.start, self.stop, self.document = (table[:, k] for k in range(4))
        inner = self._separators() if options.fill == "full" else 0
        self.lengths = self.stop - self.start + inner + cost
        self.example = np.arange(len(table))
        self.number = np.zeros(len(table), np.int64)
        limit = self.start + self.room if options.fill == "text" else self.stop
        self.truncated = self.stop > limit
        self.stop = np.minimum(self.stop, limit)
        self.lengths = np.minimum(self.lengths, options.max_length)
        if options.pairing == "next" and len(np.unique(self.document)) == 1:
            raise BraidError(
                "`nsp` takes half of its second sentences from other documents, but the corpus has only one"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    @property
    def separator(self) -> np.ndarray:
        """What stands between two documents of one row: the end of a single text."""
        return self.template.suffix[-1:]

    def _separators(self) -> np.ndarray:
        """[n]: how many documents end inside each row."""
        counts = np.zeros(len(self.part), np.int64)
        for number in np.unique(self.part):
            mine, ends = self.part == number, _ends(self.corpus.parts[number])
            low = np.searchsorted(ends, self.start[mine], side="right")
            counts[mine] = np.searchsorted(ends, self.stop[mine], side="left") - low
        return counts * len(self.separator)

    def column(self, name: str, row: int) -> np.ndarray:
        """`ids`, `segments` or `unit_tokens` of a row as it stands in the corpus: nothing masked, no pair."""
        if name == "unit_tokens":
            return np.empty(0, np.int64)
        drawn = self._single(row)
        return drawn.ids if name == "ids" else drawn.segments

    def drawn(self, row: int, rng: np.random.Generator) -> Drawn:
        """A row for one use of it, its pair chosen by `rng`."""
        if self.options.pairing == "none":
            return self._single(row)
        part = self.corpus.parts[self.part[row]]
        start, stop = int(self.start[row]), int(self.stop[row])
        middle = self._middle(part, start, stop, rng)
        wrong = rng.random() < 0.5
        first, second = (part, start, middle), (part, middle, stop)
        if wrong:
            first, second = (
                (second, first) if self.options.pairing == "order" else (first, self._other(row, second, rng))
            )
        return self._pair(row, first, second, int(wrong))

    def _middle(self, part: Part, start: int, stop: int, rng: np.random.Generator) -> int:
        """Where the second of two parts begins: at a random sentence's end, or anywhere in a row of one sentence."""
        low, high = np.searchsorted(part.sentences, [start, stop - 1], side="right")
        ends = part.sentences[low:high]
        return int(ends[rng.integers(len(ends))]) if len(ends) else int(rng.integers(start + 1, stop))

    def _other(self, row: int, second: tuple[Part, int, int], rng: np.random.Generator) -> tuple[Part, int, int]:
        """A stretch of another document, at most as long as the one that it stands for."""
        while True:
            other = int(rng.integers(len(self)))
            if self.document[other] != self.document[row]:
                break
        start, stop = int(self.start[other]), int(self.stop[other])
        return self.corpus.parts[self.part[other]], start, min(stop, start + second[2] - second[1])

    def _single(self, row: int) -> Drawn:
        part, start, stop = self.corpus.parts[self.part[row]], int(self.start[row]), int(self.stop[row])
        template = self.template
        inside = (
            [_tokens(part, start, stop)] if self.options.fill != "full" else list(self._documents(part, start, stop))
        )
        ids, words = [np.concatenate(pieces) for pieces in zip(*inside, strict=True)]
        return Drawn(
            ids=np.concatenate([template.prefix, ids, template.suffix]),
            segments=np.zeros(len(ids) + template.single_cost, np.int64),
            starts=_framed(words, len(template.prefix), len(template.suffix)) if part.starts is not None else None,
            characters=self._characters(row),
        )

    def _documents(self, part: Part, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The tokens of each document in a stretch, with a separator between two."""
        ends = _ends(part)
        low, high = np.searchsorted(ends, [start + 1, stop])
        for number, end in enumerate([*ends[low:high].tolist(), stop]):
            if number:
                yield self.separator, np.ones(len(self.separator), bool)
            if end > start:
                yield _tokens(part, start, end)
            start = end

    def _pair(self, row: int, first: tuple[Part, int, int], second: tuple[Part, int, int], wrong: int) -> Drawn:
        template = self.template
        (a_ids, a_starts), (b_ids, b_starts) = _tokens(*first), _tokens(*second)
        pieces = [template.prefix, a_ids, template.middle, b_ids, template.end]
        one = [np.ones(len(piece), bool) for piece in pieces]
        one[1], one[3] = a_starts, b_starts
        return Drawn(
            ids=np.concatenate(pieces),
            segments=np.repeat(template.pair_segments, [len(piece) for piece in pieces]).astype(np.int64),
            starts=np.concatenate(one) if first[0].starts is not None else None,
            characters=self._characters(row),
            pair_label=wrong,
        )

    def _characters(self, row: int) -> float:
        """Characters of the row's text: its documents' characters by its share of their tokens."""
        part, start, stop = self.corpus.parts[self.part[row]], int(self.start[row]), int(self.stop[row])
        ends = _ends(part)
        low, high = int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, stop))
        total = 0.0
        for document in range(low, min(high, len(ends) - 1) + 1):
            begin, end = int(ends[document - 1]) if document else 0, int(ends[document])
            inside = min(stop, end) - max(start, begin)
            if inside > 0:
                total += float(part.characters[document]) * inside / (end - begin)
        return total


class _Filler:
    """Makes the rows of one part: (start, stop, document) each, in tokens of the part."""

    def __init__(self, part: Part, rows: CorpusRows, rng: np.random.Generator) -> None:
        self.part, self.rng = part, rng
        self.room, self.options = rows.room, rows.options
        self.gap = len(rows.separator)
        self.left_out: dict[str, int] = {}

    def rows(self, chosen: np.ndarray | None) -> Iterator[tuple[int, int, int]]:
        documents = self._documents(chosen)
        return self._full(documents) if self.options.fill == "full" else self._apart(documents)

    def _documents(self, chosen: np.ndarray | None) -> Iterator[tuple[int, int, list[int]]]:
        """Each chosen document: its number, where it begins, and where its sentences end."""
        bounds, sentences = [0, *self.part.documents.tolist()], self.part.sentences
        for number, (low, high) in enumerate(pairwise(bounds)):
            if chosen is not None and not chosen[number]:
                continue
            start = int(sentences[low - 1]) if low else 0
            ends = sentences[low:high].tolist()
            if self.options.pairing != "none" and len(ends) < 2:
                self._leave_out("documents of fewer than two sentences")
            elif not ends or ends[-1] == start:
                self._leave_out("documents without a token")
            else:
                yield number, start, ends

    def _leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def _room(self) -> int:
        short = self.options.short and self.rng.random() < self.options.short
        return int(self.rng.integers(2, self.room + 1)) if short else self.room

    def _apart(self, documents: Iterator[tuple[int, int, list[int]]]) -> Iterator[tuple[int, int, int]]:
        for number, start, ends in documents:
            if self.options.fill == "text":
                yield start, ends[-1], number
                continue
            while start < ends[-1]:
                limit = start + self._room()
                place = bisect_right(ends, limit)
                # A sentence that has no room in a whole row is cut.
                stop = ends[place - 1] if place and ends[place - 1] > start else limit
                # One token is no pair.
                if stop - start > 1 or self.options.pairing == "none":
                    yield start, stop, number
                start = stop

    def _full(self, documents: Iterator[tuple[int, int, list[int]]]) -> Iterator[tuple[int, int, int]]:
        """Rows that go on across documents, as long as these follow each other in the part."""
        begin, here, first, used, room = -1, -1, 0, 0, self._room()
        for number, start, ends in documents:
            if begin >= 0 and (start != here or used + self.gap + 1 > room):
                yield begin, here, first
                begin, used, room = -1, 0, self._room()
            used += self.gap if begin >= 0 else 0
            if begin < 0:
                begin, first = start, number
            here = start
            while here < ends[-1]:
                limit = here + room - used
                place = bisect_right(ends, limit)
                stop = ends[place - 1] if place and ends[place - 1] > here else here
                if stop == here and begin == here:
                    stop = min(limit, ends[bisect_left(ends, here + 1)])
                used += stop - here
                here = stop
                if here < ends[-1]:
                    yield begin, here, first
                    begin, first, used, room = here, number, 0, self._room()
        if begin >= 0 and here > begin:
            yield begin, here, first


def _ends(part: Part) -> np.ndarray:
    """Where each document ends, in tokens."""
    last = part.documents.astype(np.int64)
    return np.where(last > 0, np.asarray(part.sentences)[np.maximum(last - 1, 0)], 0)


def _tokens(part: Part, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    starts = part.starts[start:stop] if part.starts is not None else np.ones(stop - start, bool)
    return part.ids[start:stop].astype(np.int64), starts


def _framed(words: np.ndarray, before: int, behind: int) -> np.ndarray:
    return np.concatenate([np.ones(before, bool), words, np.ones(behind, bool)])


def choose(documents: int, shares: Sequence[float], *, seed: int) -> list[np.ndarray]:
    """Which documents each share of a corpus gets: disjoint, by the seed; the last array is what is left.

    Each share gets one document at least. Raises BraidError where nothing is left."""
    order = np.random.default_rng(np.random.SeedSequence([seed, 0x63757421])).permutation(documents)
    out, start = [], 0
    for share in shares:
        size = max(1, round(documents * share))
        chosen = np.zeros(documents, bool)
        chosen[order[start : start + size]] = True
        out.append(chosen)
        start += size
    if start >= documents:
        raise BraidError(f"the shares that are cut out of the corpus leave nothing of its {documents} documents")
    rest = np.zeros(documents, bool)
    rest[order[start:]] = True
    return [*out, rest]
