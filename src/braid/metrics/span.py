"""Answers cut from a context: F1 and exact match over whole sets, as SQuAD's and CMRC's scorers give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from braid.metrics.answers import SCORERS, Scorer
from braid.metrics.meter import Meter

KINDS = {True: "has_answer", False: "no_answer"}


class HasText(Protocol):
    """A prediction of one answer."""

    @property
    def text(self) -> str:
        """The answer; empty where the context holds none."""
        ...


class SpanMeter(Meter):
    """`f1`, `exact_match`; also `has_answer_f1` and `no_answer_f1` where there are questions of both kinds. Gold is the
    list of answer texts, of which any will do; empty: the context holds no answer."""

    sometimes = tuple(f"{name}_f1" for name in KINDS.values())

    def __init__(self, scorer: Scorer = "squad_v1") -> None:
        self.scorer: Scorer = scorer
        self.questions: Counter[bool] = Counter()
        self.f1: dict[bool, float] = {True: 0.0, False: 0.0}
        self.exact: dict[bool, float] = {True: 0.0, False: 0.0}

    def update(self, prediction: HasText, gold: Sequence[str]) -> None:
        """Add one question."""
        f1, exact = SCORERS[self.scorer](prediction.text, gold)
        kind = bool(gold)
        self.questions[kind] += 1
        self.f1[kind] += f1
        self.exact[kind] += exact

    def merge(self, other: SpanMeter) -> None:
        """Add the questions of another meter."""
        self.questions.update(other.questions)
        for kind in KINDS:
            self.f1[kind] += other.f1[kind]
            self.exact[kind] += other.exact[kind]

    def compute(self) -> dict[str, float]:
        """Fractions in 0..1; 0 before the first question."""
        n = max(self.questions.total(), 1)
        out = {"f1": sum(self.f1.values()) / n, "exact_match": sum(self.exact.values()) / n}
        if all(self.questions[kind] for kind in KINDS):
            out |= {f"{name}_f1": self.f1[kind] / self.questions[kind] for kind, name in KINDS.items()}
        return out

    def table(self) -> list[dict[str, Any]]:
        """F1, exact match and support of questions with and without an answer."""
        return [
            {"label": name, "f1": self.f1[kind] / n, "exact_match": self.exact[kind] / n, "support": n}
            for kind, name in KINDS.items()
            if (n := self.questions[kind])
        ]
