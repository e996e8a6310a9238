"""Example -> its rows of tokens: one, overlapping windows of a long text, or one for each of its parts.

Units (words or characters that a task labels) are aligned to tokens here, once, for every task: a unit stands
where its first piece stands. Shape legend: U units, n pieces of the text, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from braid.data.example import Example, Window
from braid.data.tokens import Template, Tokenizer, Tokens
from braid.data.units import join_words, locate_words, split_characters, split_words
from braid.errors import BraidError

UnitKind = Literal["none", "words", "characters", "pair"]
"""What is labelled: words or characters of the text, or words of its pair."""

Layout = Literal["joint", "windows", "pair_windows", "options", "separate"]
"""How an input becomes rows. `joint`: text and pair in one row, cut where too long. `windows`: a long text in several
overlapping rows; `pair_windows`: so its pair, each row beginning with the text. `options`: the text with each option
(after its pair, if there is one) as the row's pair. `separate`: the text, its pair (the text again where there is
none) and each option alone."""

NO_UNITS = np.empty((0, 2), dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """How a group's inputs become rows. *max_length*: tokens of a row, special tokens included; *stride*: tokens by
    which windows overlap; *units*: what tasks label."""

    max_length: int
    stride: int
    units: UnitKind = "none"
    layout: Layout = "joint"


@dataclass(frozen=True, slots=True)
class _Input:
    """*fed*: the string given to the tokenizer; *fed_units*, *units* [U, 2]: the units in it and in the user's text."""

    fed: str
    fed_units: np.ndarray
    units: np.ndarray
    pair: str | None


def common_layout(tasks: Mapping[str, tuple[Layout, UnitKind]]) -> tuple[Layout, UnitKind]:
    """The layout and the units of rows that all tasks of a group (name -> what it asks for) can read.

    Where some read windows, `joint` is their first. Raises BraidError where two tasks need different rows."""
    for a, b in combinations(tasks, 2):
        layouts, kinds = {tasks[a][0], tasks[b][0]}, {tasks[a][1], tasks[b][1]} - {"none"}
        apart = len(layouts) > 1 and ("joint" not in layouts or bool(layouts & {"options", "separate"}))
        if apart or ("pair" in kinds and len(kinds) > 1):
            raise BraidError(
                f"`{a} & {b}`: they cannot share rows, since they read their inputs in different ways "
                f"({', '.join(tasks[a])} and {', '.join(tasks[b])}); write `{a} | {b}`"
            )
    layout: Layout = next((layout for layout, _ in tasks.values() if layout != "joint"), "joint")
    found: list[UnitKind] = [kind for _, kind in tasks.values() if kind != "none"]
    return layout, "characters" if "characters" in found else next(iter(found), "none")


def units_of(example: Example, kind: UnitKind) -> np.ndarray:
    """Character spans [U, 2] of an example's units in its `text` (kind `pair`: in its `pair`): its words where it has
    some, else by `kind`."""
    if kind == "none":
        return NO_UNITS
    if kind == "pair":
        return split_words(example.pair or "").astype(np.int32).reshape(-1, 2)
    if example.words is not None:
        located = locate_words(example.text, example.words)
        return (join_words(example.words)[1] if located is None else located).astype(np.int32)
    split = split_words if kind == "words" else split_characters
    return split(example.text).astype(np.int32).reshape(-1, 2)


def _input(example: Example, kind: UnitKind) -> _Input:
    """Words and characters are fed with a space between, so that no piece ever spans two of them; a text that is
    only *divided* into words is fed as it is, so that it is tokenised exactly as for a task without units."""
    units = units_of(example, kind)
    if kind in ("none", "pair") or (example.words is None and kind == "words"):
        return _Input(example.text, units, units, example.pair)
    pieces = example.words if example.words is not None else [example.text[a:b] for a, b in units.tolist()]
    sizes = np.fromiter((len(piece) for piece in pieces), dtype=np.int32, count=len(pieces))
    starts = np.concatenate(([0], np.cumsum(sizes + 1)[:-1])).astype(np.int32)[: len(pieces)]
    return _Input(" ".join(pieces), np.stack([starts, starts + sizes], axis=1), units, example.pair)


def _inputs(example: Example, options: WindowOptions) -> list[_Input]:
    """What is tokenised for an example: itself, or each of its parts."""
    alternatives = example.options or ()
    if options.layout == "separate":
        texts = [example.text, example.text if example.pair is None else example.pair, *alternatives]
        return [_Input(text, NO_UNITS, NO_UNITS, None) for text in texts]
    if options.layout == "options" and alternatives:
        asked = [] if example.pair is None else [example.pair]
        pairs = [join_words([*asked, option])[0] for option in alternatives]
        return [_Input(example.text, NO_UNITS, NO_UNITS, pair) for pair in pairs]
    return [_input(example, options.units)]


def tokenise(examples: Sequence[Example], tokenizer: Tokenizer, options: WindowOptions) -> Iterator[list[Window]]:
    """The windows of every example, in order; one batched call of the tokenizer."""
    parts = [_inputs(example, options) for example in examples]
    texts = tokenizer.encode_batch([item.fed for items in parts for item in items])
    pairs = tokenizer.encode_batch([item.pair for items in parts for item in items if item.pair is not None])
    for items in parts:
        rows: list[Window] = []
        for item in items:
            text, pair = next(texts), next(pairs) if item.pair is not None else None
            rows += _windows(item, text, pair, tokenizer.template, options, first=len(rows))
        yield rows


def _windows(
    item: _Input, text: Tokens, pair: Tokens | None, template: Template, options: WindowOptions, *, first: int
) -> Iterator[Window]:
    room = options.max_length - (template.single_cost if pair is None else template.pair_cost)
    if room < 2:
        raise BraidError(f"max_length {options.max_length} leaves no room for text beside the special tokens")
    # Units are found by what the tokenizer was fed, before offsets become those of the user's own string.
    first_pieces = _first_pieces(item.fed_units, text)
    text = Tokens(text.ids, _user_offsets(item, text))
    truncated = False
    if pair is not None and options.layout == "pair_windows":
        kept = _cut(text, min(len(text.ids), room - min(len(pair.ids), room - room // 2)))
        firsts, shift = _first_pieces(item.units, pair), len(template.prefix) + len(kept.ids) + len(template.middle)
        for number, cut in enumerate(_slices(len(pair.ids), room - len(kept.ids), options.stride, firsts), first):
            piece = Tokens(pair.ids[cut.start : cut.end], pair.offsets[cut.start : cut.end])
            places = firsts[cut.low : cut.high] - cut.start + (shift if len(piece.ids) else 0)
            yield _row(kept, piece, template, item.units, cut.low, places, number, len(kept.ids) < len(text.ids))
        return
    firsts = first_pieces if options.units != "pair" else np.zeros(0, np.int32)
    if pair is not None:
        allowed = _pair_room(len(text.ids), len(pair.ids), room, options)
        truncated = allowed < len(pair.ids)
        pair = _cut(pair, allowed)
        room -= allowed
    shift = len(template.prefix) if len(text.ids) else 0
    if options.layout != "windows":
        truncated |= len(text.ids) > room
        # Units beyond the cut have no token: they are left to whoever labels the text.
        owned = firsts if len(text.ids) <= room else firsts[firsts < room]
        yield _row(_cut(text, room), pair, template, item.units, 0, owned + shift, first, truncated)
        return
    for number, cut in enumerate(_slices(len(text.ids), room, options.stride, firsts), first):
        piece = Tokens(text.ids[cut.start : cut.end], text.offsets[cut.start : cut.end])
        places = firsts[cut.low : cut.high] - cut.start + shift
        yield _row(piece, pair, template, item.units, cut.low, places, number, truncated)


def _cut(tokens: Tokens, size: int) -> Tokens:
    return Tokens(tokens.ids[:size], tokens.offsets[:size])


@dataclass(frozen=True, slots=True)
class _Slice:
    """Tokens `start:end` of a long text, and the units `low:high` that this window owns."""

    start: int
    end: int
    low: int
    high: int


def _slices(length: int, room: int, stride: int, firsts: np.ndarray) -> list[_Slice]:
    """Windows of at most `room` tokens; where two overlap, each owns the half that it sees more of."""
    if length <= room:
        return [_Slice(0, length, 0, len(firsts))]
    starts = _window_starts(length, room, min(stride, room - 1))
    ends = [start + room for start in starts]
    borders = [(a + b) // 2 for a, b in zip(starts[1:], ends, strict=False)]
    bounds = [0, *np.searchsorted(firsts, borders, side="left").tolist(), len(firsts)]
    return [_Slice(a, b, bounds[k], bounds[k + 1]) for k, (a, b) in enumerate(zip(starts, ends, strict=True))]


def _pair_room(text: int, pair: int, room: int, options: WindowOptions) -> int:
    """Pieces that the pair keeps: with windows at most half the row (the text goes on in the next window), else what
    cutting the longer of the two, piece by piece, leaves (transformers' `longest_first`)."""
    if text + pair <= room:
        return pair
    if options.layout == "windows" or pair <= room // 2:
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
    return Window(
        ids=np.concatenate([ids for ids, _, _ in parts]),
        segments=np.concatenate([np.full(len(ids), kind, np.int8) for ids, kind, _ in parts]),
        offsets=np.concatenate([np.zeros((len(i), 2), np.int32) if o is None else o for i, _, o in parts]),
        units=units,
        first_unit=first_unit,
        unit_tokens=unit_tokens.astype(np.int32),
        number=number,
        truncated=truncated,
    )
