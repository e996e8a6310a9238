"""Words and characters of a text, and words joined to a text."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from braid.data.units import join_words, locate_words, split_characters, split_words

any_text = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("ab 1é中文、　。'\u0301\u200d👩🏽💻\ud800\u2028\t"))
)
solid = st.text(alphabet=st.one_of(st.sampled_from("abc中文、é1,'"), st.characters()), min_size=1, max_size=6).filter(
    lambda word: not any(char.isspace() for char in word)
)


def pieces(text: str, spans: np.ndarray) -> list[str]:
    return [text[a:b] for a, b in spans.tolist()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("play jazz now!", ["play", "jazz", "now", "!"]),
        ("don't", ["don", "'", "t"]),
        ("snake_case", ["snake", "_", "case"]),
        ("我爱NLP2024，真的。", ["我", "爱", "NLP2024", "，", "真", "的", "。"]),
        ("カタ仮名", ["カ", "タ", "仮", "名"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("cafe\u0301 au", ["cafe\u0301", "au"]),
        ("हिन्दी", ["हिन्दी"]),
        ("か\u3099", ["か\u3099"]),
        ("a👩\u200d💻b", ["a", "👩\u200d💻", "b"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("a\x00b", ["a", "\x00", "b"]),
        ("\ud800x", ["\ud800", "x"]),
        ("", []),
        (" \t\u3000\u00a0\u2028", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    spans = split_words(text)
    assert pieces(text, spans) == words
    assert spans.shape == (len(words), 2)


@given(any_text)
@example("\u0301\u0301a \u0301")
def test_words_cover_every_character_that_is_no_space_once(text: str) -> None:
    covered = np.zeros(len(text), dtype=int)
    for a, b in split_words(text).tolist():
        assert a < b
        covered[a:b] += 1
    assert covered.tolist() == [0 if char.isspace() else 1 for char in text]


@given(any_text)
def test_characters_are_all_that_is_no_space(text: str) -> None:
    assert pieces(text, split_characters(text)) == [char for char in text if not char.isspace()]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["play", "jazz"], "play jazz"),
        (["我", "爱", "北", "京"], "我爱北京"),
        (["A", "股", "3", "0"], "A股30"),  # character-tagged Chinese
        (["中国", "GDP", "增长", "5", "%", "左右"], "中国GDP增长5 %左右"),
        (["a", "b"], "a b"),
        (["他", "说", "：", "OK", "fine"], "他说：OK fine"),
        (["한국", "사람"], "한국 사람"),
        ([], ""),
    ],
)
def test_words_are_joined_as_their_script_is_written(words: list[str], text: str) -> None:
    joined, spans = join_words(words)
    assert joined == text
    assert pieces(joined, spans) == words


@given(st.lists(solid))
def test_joined_words_are_found_again_at_the_same_places(words: list[str]) -> None:
    text, spans = join_words(words)
    assert pieces(text, spans) == words
    located = locate_words(text, words)
    assert located is not None
    assert located.tolist() == spans.tolist()


@pytest.mark.parametrize(
    ("text", "words", "spans"),
    [
        ("I don't", ["I", "do", "n't"], [[0, 1], [2, 4], [4, 7]]),
        ("  a\u3000 b ", ["a", "b"], [[2, 3], [5, 6]]),
        ("a\u00a0b", ["a", "\u00a0", "b"], [[0, 1], [1, 2], [2, 3]]),
        ("a-b", ["a", "b"], None),  # only spaces may stand between words
        ("a b", ["b", "a"], None),
        ("a", ["a", "a"], None),
        ("", [], []),
    ],
)
def test_words_are_located_in_the_users_own_text(text: str, words: list[str], spans: list[list[int]] | None) -> None:
    found = locate_words(text, words)
    assert (found if found is None else found.tolist()) == spans


def test_a_text_of_100_000_characters_takes_no_time() -> None:
    text = ("中文 and English, mixed 12 " * 5000)[:100_000]
    split_words("warm up")
    words = pieces(text, split_words(text))
    for work in (
        lambda: split_words(text),
        lambda: split_characters(text),
        lambda: locate_words(text, words),
        lambda: join_words(words),
    ):
        best = min(_seconds(work) for _ in range(3))
        assert best < 0.2


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
