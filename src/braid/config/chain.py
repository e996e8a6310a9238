"""The chain: which tasks are trained together, and how often. `cws*2 | ner | weibo_ner & weibo_cws@0.5`

    chain = group ("|" group)*          groups have different inputs
    group = link ("&" link)*            the tasks of a group label the same inputs
    link  = name ("@" weight)? ("*" rate)?      in either order; one rate a group, after any of its tasks
    name  = [A-Za-z0-9_.-]+             weight, rate: numbers greater than 0

`*` belongs to the whole group (how often its rows are drawn), `@` to its task (weight of its loss).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from braid.errors import ChainError

NAME = re.compile(r"[A-Za-z0-9_.-]+")
_FIGURE = re.compile(r"[A-Za-z0-9_.+-]+")
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MEANT = {
    **dict.fromkeys("｜︱│¦，、,;；", "|"),
    **dict.fromkeys("＆﹠+＋", "&"),
    **dict.fromkeys("＊×✕∗", "*"),
    **dict.fromkeys("＠﹫", "@"),
    **dict.fromkeys("．。", "."),
    **dict.fromkeys("－–—", "-"),
    "＿": "_",
}
"""What people write instead of the characters of the grammar."""


@dataclass(frozen=True, slots=True)
class Link:
    """A task in a chain and the weight of its loss. `position`: where its name stands in the text."""

    name: str
    weight: float = 1.0
    position: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}@{_number(self.weight)}"


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that label the same inputs, and how often the group is drawn."""

    tasks: tuple[Link, ...]
    rate: float = 1.0

    def __str__(self) -> str:
        links = " & ".join(map(str, self.tasks))
        return links if self.rate == 1 else f"{links}*{_number(self.rate)}"


@dataclass(frozen=True, slots=True)
class Chain:
    """The groups of a chain in the order of its text. `str()` gives the canonical spelling."""

    groups: tuple[Group, ...]
    text: str = field(default="", compare=False, repr=False)

    @property
    def links(self) -> tuple[Link, ...]:
        """Every task of every group, in order."""
        return tuple(link for group in self.groups for link in group.tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tasks, in order."""
        return tuple(link.name for link in self.links)

    def __str__(self) -> str:
        return " | ".join(map(str, self.groups))


def parse(text: str) -> Chain:
    """The chain that a text says.

    Raises ChainError with a caret: nothing there, a missing name or number, an unknown character, a task that
    occurs twice, two rates in one group, two weights of one task, a number that is not greater than 0."""
    return Chain(tuple(_Parser(text).groups()), text)


class _Token(NamedTuple):
    kind: str
    """`word`, one of `|&*@`, or `end`."""
    text: str
    position: int


class _Parser:
    """Recursive descent over the tokens, one look ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        if not text.strip():
            self._fail("the chain is empty; it needs at least one task", 0)
        self.tokens = list(self._tokens())
        self.place = 0
        self.seen: set[str] = set()

    def groups(self) -> Iterator[Group]:
        yield self._group()
        while self._take("|"):
            yield self._group()
        if self.next.kind != "end":
            self._fail(f"expected | or & before {self.next.text!r}", self.next.position)

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def _take(self, kind: str) -> _Token | None:
        token = self.next
        if token.kind != kind:
            return None
        self.place += 1
        return token

    def _group(self) -> Group:
        links: list[Link] = []
        rate: float | None = None
        while not links or self._take("&"):
            name = self._name()
            weight: float | None = None
            while sign := (self._take("@") or self._take("*")):
                if sign.kind == "*":
                    if rate is not None:
                        self._fail("this group already has a rate; * may occur once in a group", sign.position)
                    rate = self._positive("rate", sign)
                else:
                    if weight is not None:
                        self._fail(f"task {name.text!r} already has a weight", sign.position)
                    weight = self._positive("weight", sign)
            links.append(Link(name.text, 1.0 if weight is None else weight, name.position))
        return Group(tuple(links), 1.0 if rate is None else rate)

    def _name(self) -> _Token:
        token = self._take("word")
        if token is None:
            found = "at the end" if self.next.kind == "end" else f"before {self.next.text!r}"
            doubled = self.place and self.next.kind in "|&" and self.tokens[self.place - 1].kind == self.next.kind
            hint = f"; write a single {self.next.kind}" if doubled else ""
            self._fail(f"a task's name is missing {found}{hint}", self.next.position)
        if token.text in self.seen:
            self._fail(f"task {token.text!r} occurs twice; a task belongs to one group", token.position)
        self.seen.add(token.text)
        return token

    def _positive(self, what: str, sign: _Token) -> float:
        token = self._take("word")
        if token is None:
            self._fail(f"a number is missing after {sign.text}", self.next.position)
        if not _NUMBER.fullmatch(token.text.removeprefix("-").removeprefix("+")):
            self._fail(f"{token.text!r} is not a number; a {what} is one such as 2 or 0.5", token.position)
        value = float(token.text)
        if not (value > 0 and math.isfinite(value)):
            self._fail(f"a {what} must be greater than 0 and finite, found {token.text}", token.position)
        return value

    def _tokens(self) -> Iterator[_Token]:
        position, last = 0, ""
        while position < len(self.text):
            character = self.text[position]
            if character.isspace():
                position += 1
            elif character in "|&*@":
                yield _Token(character, character, position)
                position, last = position + 1, character
            elif word := (_FIGURE if last in ("*", "@") else NAME).match(self.text, position):
                yield _Token("word", word.group(), position)
                position, last = word.end(), "word"
            else:
                self._unknown(character, position)
        yield _Token("end", "", len(self.text.rstrip()))

    def _unknown(self, character: str, position: int) -> NoReturn:
        if character in "()（）[]{}【】":
            self._fail("a chain has no parentheses: & binds closer than |, and that is all there is", position)
        if character in _MEANT:
            width = "" if character.isascii() else f" (U+{ord(character):04X})"
            self._fail(f"unknown character {character!r}{width}; write {_MEANT[character]!r}", position)
        self._fail(f"unknown character {character!r}; names are made of A-Z a-z 0-9 _ . -", position)

    def _fail(self, message: str, position: int) -> NoReturn:
        raise ChainError(message, chain=self.text, position=position)


def _number(value: float) -> str:
    """The shortest text that parses to the same number."""
    return str(int(value)) if value < 1e15 and value == int(value) else repr(value)
