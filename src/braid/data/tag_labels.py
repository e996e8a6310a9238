"""The label of a tagged row: a list of tags, or spans of characters; read, aligned to units, and surveyed.

Shape legend: U units of one example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from braid.data.example import Example
from braid.data.labels import canonical
from braid.data.tag_schemes import (
    Scheme,
    UnitSpan,
    begins_inside,
    complete,
    detect_scheme,
    fits,
    is_typed,
    tags_of,
)
from braid.data.units import split_characters, split_words
from braid.errors import LabelError, did_you_mean

SINGLE_CHARACTERS = 0.995
"""Share of words of length 1 from which on a corpus is one of characters. Not 1: a year or a name in Latin letters
stands as one unit in some Chinese corpora."""

FEW = 0.1
"""Share of rows whose spans cross words up to which these are mistakes, to be named, and not a language without spaces
between its words."""

CharacterSpan = tuple[int, int, str]
"""(start, end exclusive, label) in characters of the example's text."""


def is_spans(label: Any) -> bool:
    """Whether a label is a list of spans (an empty list may be either)."""
    return isinstance(label, list | tuple) and len(label) > 0 and isinstance(label[0], dict)


def read_tags(label: Any, example: Example) -> list[str]:
    """A label as one tag a unit. Raises LabelError where it is not, or its length is not that of `words`."""
    if isinstance(label, str):
        raise LabelError(
            f"the label is a string, {label!r:.60}; expected a list with a tag for each unit. "
            "Where a file has all tags of a row in one column, add `source: uer_ner` to the data"
        )
    if not isinstance(label, list | tuple):
        raise LabelError(
            f"the label is {label!r:.60} ({type(label).__name__}); expected a list of tags, or of "
            '{"start", "end", "label"} in characters of the text'
        )
    if any(isinstance(tag, dict) for tag in label):
        raise LabelError("the label mixes tags and spans; expected one of them")
    if any(isinstance(tag, list | tuple) for tag in label):
        raise LabelError(
            f"the label {label!r:.60} holds lists; expected tags, or spans such as "
            '{"start": 0, "end": 2, "label": "LOC"}'
        )
    if example.words is not None and len(label) != len(example.words):
        raise LabelError(f"{len(label)} tags for {len(example.words)} words; each word needs one tag")
    return [canonical(tag) for tag in label]


def read_spans(label: Any, example: Example) -> list[CharacterSpan]:
    """A label as spans in order of the text. Raises LabelError for a span that is not one of the text's, or that
    overlaps another."""
    spans = sorted(_span(item, example.text) for item in label)
    for (_, end, label_before), (start, _, label_after) in pairwise(spans):
        if start < end:
            raise LabelError(
                f"spans {label_before!r} and {label_after!r} overlap at character {start}; tags cannot hold nested "
                "spans: keep one of them, or make two tasks of them"
            )
    return spans


def _span(item: Any, text: str) -> CharacterSpan:
    if not isinstance(item, dict) or not {"start", "end", "label"} <= item.keys():
        raise LabelError(f'{item!r:.80} is no span; expected {{"start": 0, "end": 2, "label": "LOC"}}')
    start, end, label = item["start"], item["end"], canonical(item["label"])
    if any(isinstance(at, bool) or not isinstance(at, int | np.integer) for at in (start, end)):
        raise LabelError(f"span {label!r}: start and end are {start!r} and {end!r}; expected two integers")
    if not 0 <= start < end <= len(text):
        what = "empty" if start == end else "outside the text" if start < end else "turned round"
        raise LabelError(
            f"span {label!r} from {start} to {end} is {what}; the text has {len(text)} characters, and `end` is "
            "exclusive"
        )
    if isinstance(item.get("text"), str) and item["text"] != text[start:end]:
        raise LabelError(
            f"span {label!r} says {item['text']!r:.40}, but characters {start} to {end} (exclusive) of the text are "
            f"{text[start:end]!r:.40}"
        )
    return int(start), int(end), label


def align(spans: Sequence[CharacterSpan], units_U2: np.ndarray, example: Example) -> list[UnitSpan]:
    """Spans of characters as spans of units; spaces at a span's borders belong to no unit and do not matter.

    Raises LabelError where a border cuts through a unit, or a span holds no unit."""
    aligned = []
    for start, end, label in spans:
        first = int(np.searchsorted(units_U2[:, 1], start, side="right"))
        last = int(np.searchsorted(units_U2[:, 0], end, side="left"))
        if first >= last:
            raise LabelError(f"span {label!r} from {start} to {end} holds nothing but spaces")
        for unit in (first, last - 1):
            a, b = units_U2[unit].tolist()
            if a < start or b > end:
                todo = "" if example.words is not None else "; use `units: characters`"
                raise LabelError(
                    f"span {label!r} from {start} to {end} ({example.text[start:end]!r:.40}) cuts through the word "
                    f"{example.text[a:b]!r:.40}{todo}"
                )
        aligned.append((first, last, label))
    return aligned


@dataclass
class TagLabels:
    """What the training labels of a tagging task show of its tags, scheme and units."""

    tags: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    begun_inside: int = 0
    entities: int = 0
    words: int = 0
    single_words: int = 0
    fit_words: int = 0
    fit_characters: int = 0
    with_spans: int = 0
    across_words: int = 0

    @property
    def spans(self) -> bool:
        """Whether rows carry spans."""
        return bool(self.types)

    def add(self, label: Any, example: Example) -> None:
        """Survey one row. Raises LabelError for a label that cannot be read."""
        if example.words is not None:
            self.words += len(example.words)
            self.single_words += sum(len(word) == 1 for word in example.words)
        if is_spans(label):
            self._add_spans(read_spans(label, example), example)
        # An empty list is a text without spans, or one without units; the other rows will tell which.
        elif not isinstance(label, list | tuple) or label:
            self._add_tags(read_tags(label, example), example)
        if self.types and self.tags:
            place = f"{example.place}: " if example.place else ""
            kind, other = ("spans", "tags") if is_spans(label) else ("tags", "spans")
            raise LabelError(
                f"{place}this row carries {kind}, rows before it carry {other}; "
                "give all rows of a task labels of one kind"
            )

    def _add_tags(self, tags: list[str], example: Example) -> None:
        self.tags.update(tags)
        inside, entities = begins_inside(tags)
        self.begun_inside += inside
        self.entities += entities
        if example.words is None:
            self.fit_words += len(tags) == len(split_words(example.text))
            self.fit_characters += len(tags) == len(split_characters(example.text))

    def _add_spans(self, spans: list[CharacterSpan], example: Example) -> None:
        self.types.update(label for *_, label in spans)
        if example.words is None and spans:
            self.with_spans += 1
            try:
                align(spans, split_words(example.text), example)
            except LabelError:
                self.across_words += 1

    def scheme(self, wanted: Literal["auto"] | Scheme, given: Sequence[str] | None) -> tuple[Scheme, bool]:
        """The scheme, and whether its tags are IOB1 (most entities begin with I). *given*: tags that the data may lack.

        Raises LabelError where nothing was seen, or tags cannot be of the scheme that is wanted."""
        if self.spans:
            if wanted == "plain":
                raise LabelError("rows carry spans, which plain tags cannot mark; leave `scheme` out")
            return ("bio" if wanted == "auto" else wanted), False
        if not self.tags:
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        scheme = detect_scheme({*self.tags, *(given or ())}) if wanted == "auto" else wanted
        for tag in sorted(self.tags):
            if not fits(tag, scheme):
                raise LabelError(f"tag {tag!r} is none of scheme {scheme!r}; leave `scheme` out, or use `plain`")
        return scheme, scheme == "bio" and self.begun_inside * 2 > self.entities

    def inventory(self, scheme: Scheme, *, iob1: bool, given: Sequence[str] | None) -> list[str]:
        """All tags in their order. *given*: tags, or with spans types; then these and no more.

        Raises LabelError where a tag of the data is not among those given."""
        found = set(self.tags)
        if self.spans:
            found = {"O", *(tag for kind in self.types for tag in _marks_of(kind, scheme))}
        if given is None:
            return complete(found, scheme)
        if len(set(given)) < len(given):
            raise LabelError(f"`labels:` names {Counter(given).most_common(1)[0][0]!r} twice")
        names = list(given)
        if self.spans and not is_typed(given):
            for kind in sorted(self.types):
                if kind not in given:
                    raise LabelError(f"`labels:` lacks {kind!r}, which training rows have: {did_you_mean(kind, given)}")
            names = ["O", *(tag for kind in given for tag in _marks_of(kind, scheme))]
        needed = set(complete(found, scheme)) if iob1 else found
        for tag in sorted(needed):
            if tag not in names:
                raise LabelError(f"`labels:` lacks {tag!r}, which training rows have: {did_you_mean(tag, names)}")
        return names

    def units(self) -> Literal["words", "characters"]:
        """Words or characters, by what the rows show."""
        if self.words:
            return "characters" if self.single_words >= SINGLE_CHARACTERS * self.words else "words"
        if self.spans:
            return "words" if self.across_words <= FEW * self.with_spans else "characters"
        return "characters" if self.fit_characters >= self.fit_words else "words"


def _marks_of(kind: str, scheme: Scheme) -> list[str]:
    """All tags of one type, in the scheme's order."""
    return [tag for tag in complete(tags_of([(0, 1, kind)], 1, scheme), scheme) if tag != "O"]
