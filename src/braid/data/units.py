"""Words and characters as spans of a text, and words joined to a text.

Shape legend: U units. A span is [start, end) in code points of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

CJK = (
    "\u2e80-\u2fdf"  # radicals
    "\u3001-\u30ff"  # CJK punctuation (U+3000 is a space), hiragana, katakana
    "\u3100-\u312f\u31a0-\u31bf"  # bopomofo
    "\u31c0-\u31ff\u3200-\u4dbf\u4e00-\u9fff"  # strokes, small kana, enclosed, Han
    "\uf900-\ufaff\ufe30-\ufe4f"  # Han compatibility, vertical punctuation
    "\uff01-\uff60\uffe0-\uffe6"  # full-width
    "\uff61-\uff9f"  # half-width kana
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # kana supplements, rarer Han
)
"""Characters that are written without spaces between words, as the inside of a regular expression's [...]."""

JOINERS = "\u200c\u200d"
_cjk = re.compile(f"[{CJK}]")
# The same characters that `\s` and `str.isspace` call space.
_SPACE_CODES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)


def split_words(text: str) -> np.ndarray:
    """Spans [U, 2] of the words of a text.

    Every CJK character is one; so is every run of letters and digits of other scripts with their combining marks;
    so is every other character that is not a space. Combining marks stay with what they combine with, and emoji
    joined by U+200D stay together.
    """
    return _array([match.span() for match in _word_pattern().finditer(text)])


def split_characters(text: str) -> np.ndarray:
    """Spans [U, 2] of the characters (code points) of a text that are not spaces."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    starts = np.flatnonzero(~np.isin(codes, _SPACE_CODES)).astype(np.int64)
    return np.stack([starts, starts + 1], axis=1)


def join_words(words: Sequence[str]) -> tuple[str, np.ndarray]:
    """A text made of words, and the span of every word in it [U, 2].

    Words stand next to each other where one of the two characters that meet is CJK, or where all words are single
    characters and any of them is CJK (character-tagged Chinese); else there is a space between them.
    """
    text = "".join(words)
    if max(map(len, words), default=0) <= 1 and _cjk.search(text):
        bounds = np.cumsum([0, *map(len, words)], dtype=np.int64)
        return text, np.stack([bounds[:-1], bounds[1:]], axis=1)
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    end, open_end = 0, False
    for word in words:
        if open_end and not _cjk.match(word):
            parts.append(" ")
            end += 1
        parts.append(word)
        spans.append((end, end + len(word)))
        end += len(word)
        open_end = not _cjk.match(word[-1:])
    return "".join(parts), _array(spans)


def locate_words(text: str, words: Sequence[str]) -> np.ndarray | None:
    """Spans [U, 2] of words that stand in a text in this order with nothing but spaces between; None if they do not."""
    spans: list[tuple[int, int]] = []
    at, size = 0, len(text)
    for word in words:
        while not text.startswith(word, at):
            if at >= size or not text[at].isspace():
                return None
            at += 1
        spans.append((at, at + len(word)))
        at += len(word)
    return _array(spans)


@cache
def _word_pattern() -> re.Pattern[str]:
    marks = _marks() + "\U0001f3fb-\U0001f3ff"  # skin tones combine with the emoji before them
    cjk = f"[{CJK}][{marks}]*"
    word = f"(?:[^\\W_{CJK}][{marks}{JOINERS}]*)+"
    other = f"\\S[{marks}]*(?:\u200d[^\\w\\s][{marks}]*)*"
    return re.compile(f"{cjk}|{word}|{other}")


def _marks() -> str:
    """All combining marks (categories Mn, Mc, Me) as ranges: `re` has no class for them, and \\w leaves most out."""
    blocks = (range(0x300, 0x1F000), range(0xE0100, 0xE01F0))
    codes = [code for block in blocks for code in block if unicodedata.category(chr(code))[0] == "M"]
    array = np.array(codes)
    breaks = np.flatnonzero(np.diff(array) != 1)
    firsts, lasts = array[np.r_[0, breaks + 1]], array[np.r_[breaks, len(array) - 1]]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(firsts, lasts, strict=True))


def _array(spans: list[tuple[int, int]]) -> np.ndarray:
    return np.array(spans, dtype=np.int64).reshape(-1, 2)
