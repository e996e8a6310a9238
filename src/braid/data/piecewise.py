"""Ids of texts by way of their words, each of which is tokenised once.

BERT's tokenizers treat what stands between spaces, and each Chinese character, by itself: a text's tokens are those of
its words, end to end. Most words of a corpus come again and again, so looking them up is many times faster than
tokenising them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

SPACES = "\\t\\n\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
"""What BERT's normaliser makes a space of. Other control characters it drops, so that no word ends at them."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff"
"""Characters that it sets apart; there are more of these, but words may hold some."""

LONGEST = 40
"""Characters of a word that is remembered; longer ones hardly come again."""

MOST = 500_000
"""Words that are remembered."""

AT_ONCE = 200_000
"""Characters whose words are held at once: a word as Python holds it takes twenty times its text's own space."""

Encode = Callable[[list[str]], list[list[int]]]


class Piecewise:
    """Remembers the ids of words. *encode*: makes them for words that are new; *apart*: whether Chinese characters are
    words."""

    def __init__(self, encode: Encode, *, apart: bool) -> None:
        self.encode = encode
        self.pattern = re.compile(f"[{HAN}]|[^{SPACES}{HAN}]+" if apart else f"[^{SPACES}]+")
        self.known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of every text, int32."""
        out: list[np.ndarray] = []
        first = size = 0
        for number, text in enumerate(texts, 1):
            size += len(text)
            if size >= AT_ONCE or number == len(texts):
                out += self._some(texts[first:number])
                first, size = number, 0
        return out

    def _some(self, texts: Sequence[str]) -> list[np.ndarray]:
        words = [self.pattern.findall(text) for text in texts]
        new = list(set().union(*words) - self.known.keys())
        if new:
            self.known.update(zip(new, self.encode(new), strict=True))
        out = [np.fromiter(chain.from_iterable(map(self.known.__getitem__, row)), dtype=np.int32) for row in words]
        for word in new:
            if len(word) > LONGEST:
                del self.known[word]
        if len(self.known) > MOST:
            self.known.clear()
        return out


def piecewise(rust: RustTokenizer, encode: Encode) -> Piecewise | None:
    """For a tokenizer that treats words by themselves; None for any other."""
    settings = json.loads(rust.to_str())
    normalizer, splitter, model = (settings.get(key) or {} for key in ("normalizer", "pre_tokenizer", "model"))
    bert = normalizer.get("type") == "BertNormalizer" and splitter.get("type") == "BertPreTokenizer"
    plain = all(token.get("special") for token in settings.get("added_tokens", []))
    if not bert or not plain or not normalizer.get("clean_text") or model.get("type") != "WordPiece":
        return None
    return Piecewise(encode, apart=bool(normalizer.get("handle_chinese_chars")))
