"""Tags <-> spans: how a sequence of tags marks entities or words, and which sequences are well formed.

Spans are `(start, end, label)` in units, end exclusive. Three schemes mark them, a fourth marks nothing:

- `bio`: B-X begins, I-X continues (Ramshaw and Marcus 1995, in the IOB2 form of CoNLL-2002);
- `bioes`: also E-X at the end and S-X for a single unit (BILOU's L and U are read as E and S);
- `bmes`: the same with M for the inside, as Chinese corpora write it; word segmentation has no `-X` at all;
- `plain`: a tag says something of its own unit only (parts of speech).

Reading is lenient, writing and `legal` are strict: a tagger makes ill-formed sequences, and seqeval (after
conlleval) says what they mean; a CRF should not make them at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Literal

from braid.errors import LabelError

Scheme = Literal["bio", "bioes", "bmes", "plain"]

UnitSpan = tuple[int, int, str]
"""(first unit, end unit exclusive, label); the label is "" where tags have no type."""

_TAG = re.compile(r"([BIMES])(?:-(.+))?|([LU])-(.+)", re.DOTALL)
_CANONICAL = {"M": "I", "L": "E", "U": "S"}
_ORDER = "BIMELSU"
_LETTERS: dict[Scheme, frozenset[str]] = {
    "bio": frozenset("BI"),
    "bioes": frozenset("BIESLU"),
    "bmes": frozenset("BMES"),
}
_WRITTEN: dict[Scheme, str] = {"bio": "BI", "bioes": "BIES", "bmes": "BMES"}


def split_tag(tag: str) -> tuple[str, str] | None:
    """A tag as its letter and its type ("" without one): `B-LOC` -> (B, LOC). `O` -> (O, ""). None: neither."""
    if tag == "O":
        return "O", ""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    return match[1] or match[3], match[2] or match[4] or ""


def is_typed(labels: Iterable[str]) -> bool:
    """Whether tags other than O carry a type after a hyphen, as `B-LOC` does (`LOC` is no tag of a scheme at all)."""
    return any(part[1] for part in map(split_tag, labels) if part is not None)


def detect_scheme(labels: Collection[str]) -> Scheme:
    """The scheme that an inventory of tags is written in; `plain` unless every tag fits another one.

    Either all tags but O have a type or none has. Without M and I the rest tells nothing, so that E and S mean
    `bmes` where nothing is typed (segmentation of short words) and `bioes` elsewhere.
    """
    parts = [split_tag(label) for label in labels]
    if not parts or any(part is None for part in parts):
        return "plain"
    marks = [part for part in parts if part is not None and part[0] != "O"]
    if len({bool(kind) for _, kind in marks}) > 1:
        return "plain"
    letters = {letter for letter, _ in marks}
    if letters <= _LETTERS["bio"]:
        return "bio"
    if letters <= _LETTERS["bioes"] and ("I" in letters or "O" in labels or is_typed(labels)):
        return "bioes"
    return "bmes" if letters <= _LETTERS["bmes"] else "plain"


def fits(tag: str, scheme: Scheme) -> bool:
    """Whether a tag can be written in a scheme."""
    part = split_tag(tag)
    return scheme == "plain" or (part is not None and (part[0] == "O" or part[0] in _LETTERS[scheme]))


def complete(labels: Iterable[str], scheme: Scheme) -> list[str]:
    """An inventory in its fixed order, with every letter of the scheme for every type that appears in it.

    A rare type whose I-X stands only in the dev set is so no unknown label. O comes first, where there is one;
    then types in order of their names, each in the order of the scheme's letters. Plain tags are only sorted.
    """
    found = set(labels)
    if scheme == "plain":
        return sorted(found)
    parts = [part for part in map(split_tag, found) if part is not None]
    bilou = scheme == "bioes" and any(letter in "LU" for letter, _ in parts)
    letters = "BILU" if bilou else _WRITTEN[scheme]
    marks = {_join(letter, kind) for mark, kind in parts if mark != "O" for letter in letters}
    return sorted(found | marks, key=_place)


def _place(tag: str) -> tuple[bool, str, int]:
    letter, kind = split_tag(tag) or ("", tag)
    return tag != "O", kind, _ORDER.find(letter)


def _join(letter: str, kind: str) -> str:
    return f"{letter}-{kind}" if kind else letter


def _parts(tags: Sequence[str]) -> list[tuple[str, str]]:
    """Letters and types with one letter for the inside, one for the end, one for a single; strange tags are O."""
    return [_part(tag) for tag in tags]


@lru_cache(maxsize=4096)
def _part(tag: str) -> tuple[str, str]:
    letter, kind = split_tag(tag) or ("O", "")
    return _CANONICAL.get(letter, letter), kind


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[UnitSpan]:
    """The spans that tags mark, ill-formed ones read as seqeval's default mode (conlleval) reads them.

    B and S begin a span; so does any other mark after O, after an E or S, or after another type. Every unit that
    is not O is in exactly one span, so that untyped `bmes` always cuts the whole sequence into words. `plain`:
    one span for each unit. Seqeval knows no M; here it is its I.
    """
    if scheme == "plain":
        return [(at, at + 1, tag) for at, tag in enumerate(tags)]
    spans: list[UnitSpan] = []
    begun, before, before_kind = 0, "O", ""
    for at, (letter, kind) in enumerate([*_parts(tags), ("O", "")]):
        begins = letter in "BS" or before in "OES" or kind != before_kind
        if before != "O" and (letter == "O" or begins):
            spans.append((begun, at, before_kind))
        if letter != "O" and begins:
            begun = at
        before, before_kind = letter, kind
    return spans


def tags_of(spans: Iterable[UnitSpan], n: int, scheme: Scheme) -> list[str]:
    """The tags [n] that mark spans: well formed, and read back by `spans_of` as the same spans.

    Raises LabelError where a span is empty, out of range or overlaps another (nested spans need another task
    type), and where a unit of a `plain` sequence has no tag.
    """
    tags: list[str | None] = [None] * n
    for start, end, label in sorted(spans):
        if not 0 <= start < end <= n:
            raise LabelError(f"span {label!r} from unit {start} to {end} is empty or outside the {n} units of the text")
        if any(tag is not None for tag in tags[start:end]):
            raise LabelError(
                f"span {label!r} from unit {start} to {end} overlaps another span; tags cannot hold nested spans: "
                "keep one of them, or make two tasks of them"
            )
        tags[start:end] = _marks(end - start, label, scheme)
    if scheme == "plain" and None in tags:
        raise LabelError(f"unit {tags.index(None)} has no tag, and plain tags have no O: use `scheme: bio`")
    return ["O" if tag is None else tag for tag in tags]


def _marks(length: int, label: str, scheme: Scheme) -> list[str]:
    if scheme == "plain":
        return [label] * length
    begin, inside, *rest = (_join(letter, label) for letter in _WRITTEN[scheme])
    if not rest:
        return [begin] + [inside] * (length - 1)
    last, single = rest
    return [single] if length == 1 else [begin, *[inside] * (length - 2), last]


def legal(before: str, after: str, scheme: Scheme) -> bool:
    """Whether tag `after` may follow tag `before`. BIO: I-X only inside X. BIOES, BMES: every B-X reaches an E-X."""
    if scheme == "plain":
        return True
    (first, first_kind), (second, second_kind) = _parts((before, after))
    continues = second == "I" or (second == "E" and scheme != "bio")
    within = first in "BI" and first_kind == second_kind
    if scheme == "bio":
        return within or not continues
    return within if continues else first not in "BI"


def legal_start(tag: str, scheme: Scheme) -> bool:
    """Whether a sequence may begin with a tag."""
    return scheme == "plain" or legal("O", tag, scheme)


def legal_end(tag: str, scheme: Scheme) -> bool:
    """Whether a sequence may end with a tag."""
    return scheme == "plain" or legal(tag, "O", scheme)


def illegal_positions(tags: Sequence[str], scheme: Scheme) -> list[int]:
    """Units, ascending, whose tag may not stand after the one before it (or begin or end the sequence)."""
    if not tags:
        return []
    wrong = {at for at in range(1, len(tags)) if not legal(tags[at - 1], tags[at], scheme)}
    if not legal_start(tags[0], scheme):
        wrong.add(0)
    if not legal_end(tags[-1], scheme):
        wrong.add(len(tags) - 1)
    return sorted(wrong)


def begins_inside(tags: Sequence[str]) -> tuple[int, int]:
    """How many entities begin with I, and how many there are, those aside that follow one of their own type at once.

    Where most do, the data is IOB1 (or IO), in which B only parts two such adjacent entities. `spans_of` reads it
    right; `tags_of` makes it BIO."""
    spans = spans_of(tags, "bio")
    ends = {(end, label) for _, end, label in spans}
    apart = [tags[start] for start, _, label in spans if (start, label) not in ends]
    return sum(tag.startswith("I") for tag in apart), len(apart)
