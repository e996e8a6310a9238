"""The grammar of chains, and what is said of those that break it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.config.chain import Chain, Group, Link, parse
from braid.errors import ChainError

NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=6)
NUMBERS = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    groups: list[list[Link]] = [[]]
    for name in names:
        if groups[-1] and draw(st.booleans()):
            groups.append([])
        groups[-1].append(Link(name, draw(st.one_of(st.just(1.0), NUMBERS))))
    return Chain(tuple(Group(tuple(links), draw(st.one_of(st.just(1.0), NUMBERS))) for links in groups))


@given(chains())
def test_the_canonical_text_of_a_chain_parses_to_the_same_chain(chain: Chain) -> None:
    assert parse(str(chain)) == chain
    assert str(parse(str(chain))) == str(chain)


@given(st.text("ab|&*@ 12.e-+()，＆", max_size=20))
def test_any_text_is_a_chain_or_a_chain_error_whose_caret_is_inside(text: str) -> None:
    try:
        chain = parse(text)
    except ChainError as error:
        position = error.position
    else:
        position = 0
        assert parse(str(chain)) == chain
    assert 0 <= position <= len(text)


def test_rates_belong_to_groups_and_weights_to_tasks() -> None:
    assert parse("cws*2 | ner | weibo_ner & weibo_cws@0.5") == Chain(
        (
            Group((Link("cws"),), rate=2),
            Group((Link("ner"),)),
            Group((Link("weibo_ner"), Link("weibo_cws", 0.5))),
        )
    )


@pytest.mark.parametrize("text", ["a & b*2", "a*2 & b", "a * 2&b", "a&b * 2.0", "a*+2e0 & b", "a*.2e1&b"])
def test_a_rate_after_any_task_is_the_groups(text: str) -> None:
    assert parse(text) == Chain((Group((Link("a"), Link("b")), rate=2),))
    assert str(parse(text)) == "a & b*2"


@pytest.mark.parametrize("text", ["a@.5*2", "a*2@0.5", " a @ 0.5 * 2 ", "a\n@5e-1*2"])
def test_weight_and_rate_come_in_either_order(text: str) -> None:
    assert parse(text) == Chain((Group((Link("a", 0.5),), rate=2),))


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("", "the chain is empty; it needs at least one task", 0),
        ("  ", "the chain is empty; it needs at least one task", 0),
        ("a |", "a task's name is missing at the end", 3),
        ("| a", "a task's name is missing before '|'", 0),
        ("a || b", "a task's name is missing before '|'; write a single |", 3),
        ("a && b", "a task's name is missing before '&'; write a single &", 3),
        ("a b", "expected | or & before 'b'", 2),
        ("a | b & a", "task 'a' occurs twice; a task belongs to one group", 8),
        ("a*2*3", "this group already has a rate; * may occur once in a group", 3),
        ("a*2 & b*3", "this group already has a rate; * may occur once in a group", 7),
        ("a@2@3", "task 'a' already has a weight", 3),
        ("a*", "a number is missing after *", 2),
        ("a@ | b", "a number is missing after @", 3),
        ("a*x", "'x' is not a number; a rate is one such as 2 or 0.5", 2),
        ("a*1_0", "'1_0' is not a number; a rate is one such as 2 or 0.5", 2),
        ("a*0", "a rate must be greater than 0 and finite, found 0", 2),
        ("a@-1", "a weight must be greater than 0 and finite, found -1", 2),
        ("a*1e999", "a rate must be greater than 0 and finite, found 1e999", 2),
        ("a*nan", "'nan' is not a number; a rate is one such as 2 or 0.5", 2),
        ("a｜b", "unknown character '｜' (U+FF5C); write '|'", 1),
        ("a＆b", "unknown character '＆' (U+FF06); write '&'", 1),
        ("a, b", "unknown character ','; write '|'", 1),
        ("a + b", "unknown character '+'; write '&'", 2),
        ("a+b", "unknown character '+'; write '&'", 1),
        ("词", "unknown character '词'; names are made of A-Z a-z 0-9 _ . -", 0),
        ("(a & b) | c", "a chain has no parentheses: & binds closer than |, and that is all there is", 0),
    ],
)
def test_every_mistake_is_named_at_its_place(text: str, reason: str, position: int) -> None:
    with pytest.raises(ChainError) as caught:
        parse(text)
    assert (caught.value.reason, caught.value.position) == (reason, position)


def test_the_caret_stands_under_its_character_behind_wide_ones_and_on_the_right_line() -> None:
    assert str(ChainError("no", chain="a |\n中文 ｜ c | d", position=7)) == "no\n    中文 ｜ c | d\n         ^"
