"""Written text against a reference: BLEU and chrF as sacrebleu computes them, ROUGE-L, exact match.

Every pair of texts is kept and all figures are computed at the end, so meters merge exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from braid.data.units import CJK, split_words
from braid.metrics.meter import Meter

BleuTokens = Literal["13a", "zh", "char", "none"]
"""sacrebleu's ways to cut a text into words: mteval's for languages with spaces, each Chinese character apart, every
character apart, at spaces only."""

_cjk = re.compile(f"[{CJK}]")


class HasText(Protocol):
    """A prediction of one text."""

    @property
    def text(self) -> str:
        """The predicted text."""
        ...


def bleu_tokens(references: Iterable[str]) -> BleuTokens:
    """`zh` where more than half of the texts have a CJK character, else `13a`."""
    marks = [_cjk.search(text) is not None for text in references]
    return "zh" if 2 * sum(marks) > len(marks) else "13a"


class GenerationMeter(Meter):
    """`bleu`, `chrf`, `rouge_l`, `exact_match`. Gold is the reference, one for each text.

    *tokens*: how BLEU cuts texts into words; `none` (for sequences of symbols) holds for ROUGE-L too. *main*: the
    metric that stands first."""

    def __init__(self, tokens: BleuTokens = "13a", *, main: str = "bleu") -> None:
        self.tokens: BleuTokens = tokens
        self.main = main
        self.said: list[str] = []
        self.gold: list[str] = []

    def update(self, prediction: HasText, gold: str) -> None:
        """Add one text with its reference."""
        self.said.append(prediction.text)
        self.gold.append(gold)

    def merge(self, other: GenerationMeter) -> None:
        """Add the texts of another meter."""
        self.said += other.said
        self.gold += other.gold

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; 0 before the first text. BLEU (Papineni et al. 2002) and chrF (Popovic 2015, chrF2) are
        sacrebleu's corpus scores with its defaults, divided by 100; `rouge_l` and `exact_match` are means over
        texts. BLEU is 0 where no text has four words, as the standard has it."""
        if not self.gold:
            scores = dict.fromkeys(("bleu", "chrf", "rouge_l", "exact_match"), 0.0)
        else:
            from sacrebleu.metrics.bleu import BLEU
            from sacrebleu.metrics.chrf import CHRF

            words = [(self._words(said), self._words(gold)) for said, gold in zip(self.said, self.gold, strict=True)]
            equal = [said.split() == gold.split() for said, gold in zip(self.said, self.gold, strict=True)]
            # force: sacrebleu need not warn that texts look tokenised already.
            bleu = BLEU(tokenize=self.tokens, force=True).corpus_score(self.said, [self.gold]).score
            scores = {
                "bleu": min(bleu / 100, 1.0),
                "chrf": CHRF().corpus_score(self.said, [self.gold]).score / 100,
                "rouge_l": sum(rouge_l(said, gold) for said, gold in words) / len(words),
                "exact_match": sum(equal) / len(equal),
            }
        return {name: scores[name] for name in sorted(scores, key=lambda name: name != self.main)}

    def _words(self, text: str) -> list[str]:
        return text.split() if self.tokens == "none" else rouge_words(text)


def rouge_words(text: str) -> list[str]:
    """A text's words in lower case, each CJK character a word, punctuation left out. Of ASCII text these are the
    tokens of the package rouge-score (without its stemmer)."""
    words = [text[start:end].lower() for start, end in split_words(text).tolist()]
    return [word for word in words if any(character.isalnum() for character in word)]


def rouge_l(said: Sequence[str], gold: Sequence[str]) -> float:
    """ROUGE-L of one pair of word lists: F1 of their longest common subsequence (Lin 2004, section 3.1, beta 1)."""
    common = common_length(said, gold)
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table at once in the bits of an integer (Hyyro
    2004, "Bit-parallel LCS-length computation revisited")."""
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    every = (1 << len(a)) - 1
    # A bit that is 0 marks a place of `a` where the common subsequence with what was read of `b` grows by one.
    row = every
    for word in b:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(a) - row.bit_count()
