"""Example -> one row of tokens, or several overlapping windows of a long text.

Units (words or characters that a task labels) are aligned to tokens here, once, for every task: a unit stands
where its first piece stands. Shape legend: U units, n pieces of the text, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braid.data.example import Example, Window
from braid.data.tokens import Template, Tokenizer, Tokens
from braid.data.units import join_words, locate_words, split_characters, split_words
from braid.errors import BraidError

UnitKind = Literal["none", "words", "characters"]
NO_UNITS = np.empty((0, 2), dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """How a group's inputs become rows. *max_length*: tokens of a row, special tokens included; *stride*: tokens by
    which windows overlap; *units*: what tasks label; *windows*: long texts become several rows (else they are cut)."""

    max_length: int
    stride: int
    units: UnitKind = "none"
    windows: bool = False


@dataclass(frozen=True, slots=True)
class _Input:
    """*fed*: the string given to the tokenizer; *fed_units*, *units* [U, 2]: the units in it and in the user's text."""

    fed: str
    fed_units: np.ndarray
    units: np.ndarray


def units_of(example: Example, kind: UnitKind) -> np.ndarray:
    """Character spans [U, 2] of an example's units in its `text`: its words where it has some, else by `kind`."""
    if kind == "none":
        return NO_UNITS
    if example.words is not None:
        located = locate_words(example.text, example.words)
        return (join_words(example.words)[1] if located is None else located).astype(np.int32)
    split = split_words if kind == "words" else split_characters
    return split(example.text).astype(np.int32).reshape(-1, 2)


def _input(example: Example, kind: UnitKind) -> _Input:
    """Words and characters are fed with a space between, so that no piece ever spans two of them; a text that is
    only *divided* into words is fed as it is, so that it is tokenised exactly as for a task without units."""
    units = units_of(example, kind)
    if kind == "none" or (example.words is None and kind == "words"):
        return _Input(example.text, units, units)
    pieces = example.words if example.words is not None else [example.text[a:b] for a, b in units.tolist()]
    sizes = np.fromiter((len(piece) for piece in pieces), dtype=np.int32, count=len(pieces))
    starts = np.concatenate(([0], np.cumsum(sizes + 1)[:-1])).astype(np.int32)[: len(pieces)]
    return _Input(" ".join(pieces), np.stack([starts, starts + sizes], axis=1), units)


def tokenise(examples: Sequence[Example], tokenizer: Tokenizer, options: WindowOptions) -> Iterator[list[Window]]:
    """The windows of every example, in order; one batched call of the tokenizer."""
    inputs = [_input(example, options.units) for example in examples]
    texts = tokenizer.encode_batch([item.fed for item in inputs])
    pairs = tokenizer.encode_batch([example.pair for example in examples if example.pair is not None])
    for example, item, text in zip(examples, inputs, texts, strict=True):
        pair = next(pairs) if example.pair is not None else None
        yield list(_windows(item, text, pair, tokenizer.template, options))


def _windows(
    item: _Input, text: Tokens, pair: Tokens | None, template: Template, options: WindowOptions
) -> Iterator[Window]:
    room = options.max_length - (template.single_cost if pair is None else template.pair_cost)
    if room < 2:
        raise BraidError(f"max_length {options.max_length} leaves no room for text beside the special tokens")
    firsts = _first_pieces(item.fed_units, text)
    offsets = _user_offsets(item, text)
    truncated = False
    if pair is not None:
        allowed = _pair_room(len(text.ids), len(pair.ids), room, options)
        truncated = allowed < len(pair.ids)
        pair = Tokens(pair.ids[:allowed], pair.offsets[:allowed])
        room -= allowed
    body = Tokens(text.ids, offsets)
    if len(text.ids) <= room or not options.windows:
        truncated |= len(text.ids) > room
        body = Tokens(text.ids[:room], offsets[:room])
        yield _row(body, pair, template, item.units, 0, np.minimum(firsts, max(len(body.ids) - 1, 0)), 0, truncated)
        return
    starts = _window_starts(len(text.ids), room, min(options.stride, room - 1))
    ends = [start + room for start in starts]
    borders = [0, *((a + b) // 2 for a, b in zip(starts[1:], ends, strict=False)), len(text.ids)]
    cuts = np.searchsorted(firsts, borders[1:-1], side="left")
    bounds = [0, *cuts.tolist(), len(firsts)]
    for number, start in enumerate(starts):
        piece = Tokens(text.ids[start : start + room], offsets[start : start + room])
        low, high = bounds[number], bounds[number + 1]
        yield _row(piece, pair, template, item.units, low, firsts[low:high] - start, number, truncated)


def _pair_room(text: int, pair: int, room: int, options: WindowOptions) -> int:
    """Pieces that the pair keeps: with windows at most half the row (the text goes on in the next window), else what
    cutting the longer of the two, piece by piece, leaves (transformers' `longest_first`)."""
    if text + pair <= room:
        return pair
    if options.windows or pair <= room // 2:
        return min(pair, room // 2)
    return room - min(text, room - room // 2)


def _window_starts(length: int, room: int, overlap: int) -> list[int]:
    starts = list(range(0, max(length - room, 0), max(room - overlap, 1)))
    return [*starts, length - room]


def _first_pieces(units: np.ndarray, tokens: Tokens) -> np.ndarray:
    """[U]: the first piece of every unit. A unit that the tokenizer dropped (a control character, say) stands where
    the piece before it stands, so that no unit is ever without a prediction."""
    if len(units) == 0 or len(tokens.ids) == 0:
        return np.zeros(len(units), dtype=np.int32)
    ends = np.maximum.accumulate(tokens.offsets[:, 1])
    first = np.searchsorted(ends, units[:, 0], side="right")
    inside = np.minimum(first, len(ends) - 1)
    missed = (first >= len(ends)) | (tokens.offsets[inside, 0] >= units[:, 1])
    return np.maximum(np.where(missed, first - 1, first), 0).astype(np.int32)


def _user_offsets(item: _Input, tokens: Tokens) -> np.ndarray:
    """Offsets [n, 2] in the user's text of pieces whose offsets are in the string that was fed."""
    if item.fed_units is item.units or len(item.units) == 0:
        return tokens.offsets
    unit = np.clip(np.searchsorted(item.fed_units[:, 0], tokens.offsets[:, 0], side="right") - 1, 0, None)
    start, size = item.units[unit, 0], item.units[unit, 1] - item.units[unit, 0]
    inner = np.clip(tokens.offsets - item.fed_units[unit, :1], 0, size[:, None])
    return (start[:, None] + inner).astype(np.int32)


def _row(
    text: Tokens,
    pair: Tokens | None,
    template: Template,
    units: np.ndarray,
    first_unit: int,
    unit_tokens: np.ndarray,
    number: int,
    truncated: bool,
) -> Window:
    parts: Iterable[tuple[np.ndarray, int, np.ndarray | None]]
    if pair is None:
        parts = [(template.prefix, 0, None), (text.ids, 0, text.offsets), (template.suffix, 0, None)]
    else:
        kinds = template.pair_segments
        parts = [
            (template.prefix, kinds[0], None),
            (text.ids, kinds[1], text.offsets),
            (template.middle, kinds[2], None),
            (pair.ids, kinds[3], pair.offsets),
            (template.end, kinds[4], None),
        ]
    shift = len(template.prefix) if len(text.ids) else 0
    return Window(
        ids=np.concatenate([ids for ids, _, _ in parts]),
        segments=np.concatenate([np.full(len(ids), kind, np.int8) for ids, kind, _ in parts]),
        offsets=np.concatenate([np.zeros((len(i), 2), np.int32) if o is None else o for i, _, o in parts]),
        units=units,
        first_unit=first_unit,
        unit_tokens=(unit_tokens + shift).astype(np.int32),
        number=number,
        truncated=truncated,
    )
