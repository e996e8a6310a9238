"""The chain: which tasks share their inputs (`&`), which have other ones (`|`), and how they are weighted.

    chain: "cws*2 | ner | weibo_ner & weibo_cws@0.5"
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from braid.errors import ChainError

NAME = r"[A-Za-z0-9_.\-]+"
_TOKEN = re.compile(rf"\s*(?:(?P<op>[&|*@])|(?P<word>{NAME})|(?P<bad>\S))")
_NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+")
_LOOKALIKES = {"｜": "|", "＆": "&", "＊": "*", "＠": "@", "×": "*", "，": "|", ",": "|", "+": "&", ";": "|", "∣": "|"}


@dataclass(frozen=True)
class Link:
    """A task in a chain and the weight of its loss."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Group:
    """Tasks that label the same inputs, and how often the group is drawn."""

    tasks: tuple[Link, ...]
    rate: float = 1.0


@dataclass(frozen=True)
class Chain:
    """Groups with different inputs, in the order written."""

    groups: tuple[Group, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All task names, in order."""
        return tuple(link.name for group in self.groups for link in group.tasks)

    def __str__(self) -> str:
        return " | ".join(_show(group) for group in self.groups)


@dataclass
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Chain:
    """A chain from its text. Raises ChainError with a caret at the place."""
    tokens = _tokens(text)
    if tokens[0].kind == "end":
        raise ChainError("the chain is empty: name at least one task", chain=text, position=0)
    groups: list[Group] = []
    seen: set[str] = set()
    at = 0
    while True:
        links: list[Link] = []
        rate: float | None = None
        while True:
            link, found, at = _task(tokens, at, text)
            if link.name in seen:
                raise ChainError(f"task {link.name!r} stands in the chain twice", chain=text, position=tokens[at].at)
            seen.add(link.name)
            links.append(link)
            if found is not None:
                if rate is not None:
                    raise ChainError(
                        "a group is drawn as a whole: write one `*` for all its tasks", chain=text, position=found[1]
                    )
                rate = found[0]
            if tokens[at].text != "&":
                break
            at += 1
        groups.append(Group(tuple(links), 1.0 if rate is None else rate))
        token = tokens[at]
        if token.kind == "end":
            return Chain(tuple(groups))
        if token.text != "|":
            raise ChainError(f"expected `&` or `|` before {token.text!r}", chain=text, position=token.at)
        at += 1


def _task(tokens: list[_Token], at: int, text: str) -> tuple[Link, tuple[float, int] | None, int]:
    token = tokens[at]
    if token.kind != "word":
        what = "at the end" if token.kind == "end" else f"before {token.text!r}"
        raise ChainError(f"a task name is missing {what}", chain=text, position=token.at)
    at += 1
    weight: float | None = None
    rate: tuple[float, int] | None = None
    while tokens[at].text in ("*", "@"):
        sign = tokens[at]
        if (sign.text == "*" and rate is not None) or (sign.text == "@" and weight is not None):
            raise ChainError(f"a second `{sign.text}` for one task", chain=text, position=sign.at)
        value = _number(tokens[at + 1], sign.text, text)
        if sign.text == "*":
            rate = (value, sign.at)
        else:
            weight = value
        at += 2
    return Link(token.text, 1.0 if weight is None else weight), rate, at


def _number(token: _Token, sign: str, text: str) -> float:
    use = "how often the group is drawn" if sign == "*" else "the weight of the task's loss"
    if token.kind != "word" or not _NUMBER.fullmatch(token.text):
        raise ChainError(f"`{sign}` needs a number after it: {use}", chain=text, position=token.at)
    value = float(token.text)
    if not math.isfinite(value) or value <= 0:
        raise ChainError(f"{use} must be greater than 0", chain=text, position=token.at)
    return value


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        assert match is not None
        kind = str(match.lastgroup)
        token = _Token(kind, match[kind], match.start(kind))
        if kind == "bad":
            near = _LOOKALIKES.get(token.text)
            hint = f"; did you mean {near!r}?" if near else ""
            if token.text in "()":
                hint = "; a chain has no brackets: `&` binds closer than `|`"
            raise ChainError(f"{token.text!r} has no meaning in a chain{hint}", chain=text, position=token.at)
        out.append(token)
        at = match.end()
    out.append(_Token("end", "", len(text.rstrip())))
    return out


def _show(group: Group) -> str:
    shown = " & ".join(link.name + ("" if link.weight == 1 else f"@{link.weight:g}") for link in group.tasks)
    return shown + ("" if group.rate == 1 else f"*{group.rate:g}")
