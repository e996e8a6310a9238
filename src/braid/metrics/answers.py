"""How much an answer's text agrees with the gold texts, as the field's two scorers say it.

English: SQuAD's evaluate-v1.1.py (Rajpurkar et al. 2016) and evaluate-v2.0.py (Rajpurkar et al. 2018): F1 over bags
of words. Chinese: CMRC 2018's cmrc2018_evaluate.py (Cui et al. 2019): F1 by the longest common run of characters.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

Scorer = Literal["squad_v1", "squad_v2", "cmrc"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""The script's own list. (Its `……` is two characters, which no single character ever equals: it stays.)"""
_HAN = re.compile("[\u4e00-\u9fa5]")

# The Penn Treebank's conventions in the order in which they apply, as NLTK's `word_tokenize` extends them.
_TREEBANK = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([«„‘])", r" \1 "),
        (r"^\"", " `` "),
        (r"(?<=[ (\[{<])(?:\"|'')", " `` "),
        (r"(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)", "' "),
        (r"(?<=[^.])\.([])}>\"'»” ]*)\s*$", r" . \1 "),
        (r",(\D|$)", r" , \1"),
        (r"(\.{2,}|[;@#$%&?!\u2012-\u2015])", r" \1 "),
        (r"(?<=[^'])' ", " ' "),
        (r"([][(){}<>])", r" \1 "),
        (r"(''|\")", " '' "),
        (r"(»)", r" \1 "),
        (r"\s+|$", " "),
        (r"(?<=[^' ])('[smd]?|'ll|'re|'ve|n't) ", r" \1 "),
        (r"\b(?:(can)(not)|(gim|lem)(me)|(gon|wan)(na)|(got)(ta))\b", r" \1\3\5\7 \2\4\6\8 "),
    )
]


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and doubled spaces: what SQuAD's scorer compares."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def squad_v1(said: str, golds: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match, each the best over the gold texts; without any only the empty answer is right."""
    answer = normalised(said)
    texts = [normalised(gold) for gold in golds]
    if not texts:
        return float(not answer), float(not answer)
    return max(_bag_f1(answer.split(), text.split()) for text in texts), float(answer in texts)


def squad_v2(said: str, golds: Sequence[str]) -> tuple[float, float]:
    """As `squad_v1`, but gold texts of which nothing is left do not count, and nothing agrees with nothing."""
    kept = [gold for gold in golds if normalised(gold)]
    return squad_v1(said, kept)


def cmrc(said: str, golds: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match, each the best over the gold texts; without any only the empty answer is right.

    Text in other scripts is divided by the Treebank's conventions, as a sentence each stretch: the script's
    `nltk.word_tokenize` also looks for ends of sentences inside of it."""
    if not golds:
        return float(not said.strip()), float(not said.strip())
    units = mixed_units(said)
    exact = _bare(said) in {_bare(gold) for gold in golds}
    return max(_run_f1(units, mixed_units(gold)) for gold in golds), float(exact)


SCORERS: dict[Scorer, Callable[[str, Sequence[str]], tuple[float, float]]] = {
    "squad_v1": squad_v1,
    "squad_v2": squad_v2,
    "cmrc": cmrc,
}


@lru_cache(maxsize=1 << 16)
def mixed_units(text: str) -> tuple[str, ...]:
    """A text in lower case as CMRC's scorer divides it: each Han character, and the words of all else; punctuation of
    its list is left out."""
    out: list[str] = []
    at = 0
    # Punctuation is left out first, so that it does not divide what stands on either side.
    kept = text.lower().strip().translate(_NO_CMRC_PUNCTUATION)
    for match in _HAN.finditer(kept):
        out += treebank_words(kept[at : match.start()])
        out.append(match[0])
        at = match.end()
    return (*out, *treebank_words(kept[at:]))


def treebank_words(text: str) -> list[str]:
    """The words of one sentence in lower case, divided as in the Penn Treebank: `don't (x).` as do n't ( x ) ."""
    for pattern, replacement in _TREEBANK if text else ():
        text = pattern.sub(replacement, text)
    return text.split()


def _bare(text: str) -> str:
    return text.lower().strip().translate(_NO_CMRC_PUNCTUATION)


def _bag_f1(said: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(gold)).values())
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def _run_f1(said: Sequence[str], gold: Sequence[str]) -> float:
    run = SequenceMatcher(None, said, gold, autojunk=False).find_longest_match().size
    return 2 * run / (len(said) + len(gold)) if run else 0.0
