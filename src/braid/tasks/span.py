"""span: the answer to a question, cut from a context (extractive question answering).

Shape legend: R windows that carry a target, U units of one example's context, N units of all windows, D hidden size,
E examples. The 4 logits of a unit: start and end of the answer here, and its window's scores for "no answer".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.data.windows import Layout, UnitKind, units_of
from braid.decoding.base import Need, Together
from braid.decoding.span import Answer as Answer
from braid.decoding.span import Candidate as Candidate
from braid.decoding.span import SpanDecoder
from braid.errors import LabelError, SkippedLabelError
from braid.metrics.answers import Scorer
from braid.metrics.span import SpanMeter
from braid.nn.divergence import segment_divergence
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.segments import over_units, segment_logsumexp, segment_min, unit_places
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Target

MISPLACED = "the answer does not stand where `start` says"
SURVEYED = 1000
"""Contexts of the training data that tell whether they are Chinese."""

_han, _latin = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]+")


class Span(LabelledTask):
    """The answer to a question (`text`), cut from a context (`pair`)."""

    type: Literal["span"] = "span"
    hub_task: ClassVar[str] = "question-answering"
    layout: ClassVar[Layout] = "pair_windows"
    together: ClassVar[Together] = "example"
    document: ClassVar[Literal["row", "text", "pair"]] = "pair"
    main_metric: ClassVar[str] = "f1"
    comparable: ClassVar[bool] = True

    max_answer_length: int = Field(default=30, ge=1)
    """Longest answer that is predicted, in units: words, or characters of Chinese and Japanese."""

    n_best: int = Field(default=1, ge=1)
    """How many of the best spans a prediction lists; 1: none beside the answer."""

    no_answer: Literal["auto"] | bool = "auto"
    """Whether a context may hold no answer. `auto`: it may where training rows have none (`[]`)."""

    scorer: Literal["auto", "squad", "cmrc"] = "auto"
    """Whose F1 and exact match are computed: SQuAD's over words (v2.0's where there may be no answer, else v1.1's), or
    CMRC 2018's over Chinese characters. `auto`: by the contexts' script."""

    @property
    def unit_kind(self) -> UnitKind:
        """Words of the context; every Chinese or Japanese character is one."""
        return "pair"

    @property
    def need(self) -> Need:
        """A context."""
        return Need("context", "it needs a `pair`, the context to be searched")

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`no_answer`: whether there may be none; `scorer`.

        Raises LabelError where no row has an answer, or there is no label at all."""
        answered = declined = han = latin = 0
        for number, (label, example) in enumerate(zip(labels, examples, strict=True)):
            empty = _is_empty(label)
            answered, declined = answered + (not empty), declined + empty
            if number < SURVEYED and example.pair:
                han += len(_han.findall(example.pair))
                latin += len(_latin.findall(example.pair))
        if not answered:
            raise LabelError("no training row has an answer; check the name of the label column (`data.columns`)")
        no_answer = declined > 0 if self.no_answer == "auto" else self.no_answer
        chosen = ("cmrc" if han > latin else "squad") if self.scorer == "auto" else self.scorer
        squad: Scorer = "squad_v2" if no_answer else "squad_v1"
        return {"no_answer": no_answer, "scorer": "cmrc" if chosen == "cmrc" else squad}

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """All [1]: `start`, `end`: where the answer begins and ends among the units that the window owns, -1: not
        there; `answerable`: 0 or 1; `units`: how many the window owns; `first`: 1 for the example's first window."""
        answers = read_answers(label)
        if not len(window.units):
            raise SkippedLabelError("the context is empty")
        if not answers and not facts["no_answer"]:
            raise SkippedLabelError("there is no answer, and the task has `no_answer: false`")
        ends = [_owned(unit, window) for unit in _place(answers, example, window.units)] if answers else [-1, -1]
        numbers = {
            "start": ends[0],
            "end": ends[1],
            "answerable": int(bool(answers)),
            "units": len(window.unit_tokens),
            "first": int(window.number == 0),
        }
        return {key: np.array([number], dtype=np.int64) for key, number in numbers.items()}

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> list[str]:
        """The texts of all answers, wherever they stand; empty: there is none."""
        return [text for _, text in read_answers(label)]

    def count(self, target: Target) -> int:
        """1 an example."""
        return int(target["first"][0])

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Dropout and one linear layer on each unit's first piece and on each window's first token."""
        return SpanHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> SpanMeter:
        """f1, exact_match, and F1 of questions with and without an answer."""
        return SpanMeter(facts["scorer"])

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Who was where, told in one or many words; every fourth context does not say."""
        people, places = ("Anna", "Carl", "Dora", "Emil", "Fred"), ("Rome", "New York", "Oslo")
        rows: list[dict[str, Any]] = []
        for i in range(n):
            who, where = people[i % 5], places[i % 3]
            story = f"in year {i} {who} went to {where} , they say"
            if i % 4 == 1:
                story = " ".join(["much was said and little done ,"] * 6 + [story])
            label = [] if i % 4 == 3 else [{"start": story.index(where), "text": where}]
            rows.append({"text": f"why {i} ?" if i % 4 == 3 else f"where was {who} ?", "pair": story, "label": label})
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits [U, 4] of a window that are large where the answer begins and ends, or for no answer."""
        logits_U4 = np.zeros((int(target["units"][0]), 4), dtype=np.float32)
        logits_U4[:, 2:] = -50.0 if target["answerable"][0] else 50.0
        for column, key in enumerate(("start", "end")):
            if target[key][0] >= 0:
                logits_U4[target[key][0], column] = 50.0
        return logits_U4

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """Whether there is an answer."""
        return ["no answer" if _is_empty(label) else "answer"]

    def check_label(self, label: Any, example: Example, facts: Facts | None = None) -> list[str]:
        """Answers that stand elsewhere, begin or end within a word, or are longer than `max_answer_length`."""
        units = units_of(example, "pair")
        out = []
        for start, text in read_answers(label):
            place = _units(start, text, example, units)
            if place is None:
                out.append(f"answer {text!r:.60}: {MISPLACED} ({start})")
                continue
            size = place[1] - place[0] + 1
            stripped = text.strip()
            if size > self.max_answer_length:
                out.append(f"answer {text!r:.60} has {size} units, more than max_answer_length")
            elif units[place[1], 1] - units[place[0], 0] > len(stripped):
                out.append(f"answer {text!r:.60} begins or ends within a word")
        return out


def read_answers(label: Any) -> list[tuple[int, str]]:
    """(start, text) of every answer of a label: `[{"start", "text"}, ...]`; as the hub's SQuAD files have them,
    `{"text": [...], "answer_start": [...]}`; or a prediction of this type. Raises LabelError for anything else, and
    for an answer without text."""
    if isinstance(label, Mapping) and {"text", "answer_start"} <= label.keys():
        texts, starts = label["text"], label["answer_start"]
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            label = [{"start": start, "text": text} for start, text in zip(starts, texts, strict=True)]
    elif isinstance(label, Mapping) and {"text", "start"} <= label.keys():
        label = [label] if label["text"] != "" else []
    if isinstance(label, str) or not isinstance(label, Sequence):
        raise LabelError(
            f'the label is {label!r:.60}; expected a list of {{"start", "text"}} in characters of `pair`, '
            "[] where it holds no answer"
        )
    return [_answer(item) for item in label]


def _answer(item: Any) -> tuple[int, str]:
    if not isinstance(item, Mapping) or not {"start", "text"} <= item.keys():
        raise LabelError(f'{item!r:.80} is no answer; expected {{"start": 0, "text": "..."}}')
    start, text = item["start"], item["text"]
    if isinstance(start, bool) or not isinstance(start, int | np.integer):
        raise LabelError(f"`start` is {start!r:.60}; expected a number of characters of `pair`, counted from 0")
    if not isinstance(text, str) or not text.strip():
        raise LabelError(f"`text` is {text!r:.60}; expected the answer's own words ([] as label: no answer)")
    return int(start), text


def _is_empty(label: Any) -> bool:
    """Whether a label says that there is no answer. What is no label at all, `encode` finds, with its place."""
    try:
        return not read_answers(label)
    except LabelError:
        return False


def _units(start: int, text: str, example: Example, units_U2: np.ndarray) -> tuple[int, int] | None:
    """First and last unit of an answer; None where the context has another text there."""
    if start < 0 or (example.pair or "")[start : start + len(text)] != text:
        return None
    first = int(np.searchsorted(units_U2[:, 1], start, side="right"))
    last = int(np.searchsorted(units_U2[:, 0], start + len(text), side="left")) - 1
    return (first, last) if first <= last else None


def _place(answers: Iterable[tuple[int, str]], example: Example, units_U2: np.ndarray) -> tuple[int, int]:
    """First and last unit of the first answer that stands where it should."""
    for start, text in answers:
        place = _units(start, text, example, units_U2)
        if place is not None:
            return place
    raise SkippedLabelError(MISPLACED)


def _owned(unit: int, window: Window) -> int:
    return unit - window.first_unit if window.first_unit <= unit < window.last_unit else -1


class SpanHead(Head):
    """Start and end scores of units, as BERT has them for SQuAD (Devlin et al. 2019), those of a window's first token
    being its scores for "no answer". The loss is normalised over all windows of an example (Clark and Gardner 2018,
    arXiv 1710.10723), so that scores of different windows can be compared."""

    tunes: ClassVar[bool] = True
    null_threshold: Tensor

    def __init__(self, task: Span, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.longest, self.n_best = task.max_answer_length, task.n_best
        self.no_answer: bool = facts["no_answer"]
        self.scorer: Scorer = facts["scorer"]
        self.dropout = Dropout(task.dropout)
        self.classifier = Linear(hidden_size, 2)
        self.register_buffer("null_threshold", torch.zeros(()))

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [N, 4] of the units that the windows `rows` own."""
        chosen_N, cu = unit_places(hidden.batch, rows)
        units_N2 = self.classifier(self.dropout(hidden.last[hidden.batch.words[chosen_N]]))
        null_R2 = self.classifier(self.dropout(hidden.last[hidden.batch.cu_seqlens[rows].long()]))
        return torch.cat([units_N2, over_units(null_R2, hidden.batch, cu)], dim=1)

    def sizes(self, batch: Batch, rows: Tensor) -> Tensor:
        """Units that each window owns."""
        return batch.cu_words[rows + 1] - batch.cu_words[rows]

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """In fp32, the mean of both ends' cross-entropies over all units of an example and, where the task knows it,
        no answer (the least of the windows' scores for it); summed over examples."""
        n = int(targets.examples.max()) + 1
        sizes_R = targets.values["units"]
        firsts_R = sizes_R.cumsum(0) - sizes_R
        options = torch.arange(n, device=logits.device)
        total = logits.new_zeros((), dtype=torch.float32)
        for column, key in enumerate(("start", "end")):
            values, segments = self._scores(logits, column, targets, n)
            at_R = targets.values[key]
            gold = (firsts_R + at_R)[at_R >= 0]
            if self.no_answer:
                declined_E = torch.ones_like(options).index_fill(0, targets.examples[at_R >= 0], 0).bool()
                gold = torch.cat([gold, len(logits) + options[declined_E]])
            total = total + segment_logsumexp(values, segments, n).sum() - values[gold].sum()
        return total / 2

    def _scores(self, logits: Tensor, column: int, targets: Targets, n: int) -> tuple[Tensor, Tensor]:
        """The scores of one end over all that it may be, and the example of each: every unit, then, where the task
        knows it, every example's no answer."""
        values = logits[:, column].float()
        segments = torch.repeat_interleave(targets.examples, targets.values["units"])
        if not self.no_answer:
            return values, segments
        null_E = segment_min(logits[:, 2 + column].float(), segments, n)
        return torch.cat([values, null_E]), torch.cat([segments, torch.arange(n, device=logits.device)])

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of each end over all units of an example and no answer, the mean of both ends; summed
        over examples."""
        n = int(targets.examples.max()) + 1
        total = first.new_zeros((), dtype=torch.float32)
        for column in (0, 1):
            values, segments = self._scores(first, column, targets, n)
            others, _ = self._scores(second, column, targets, n)
            total = total + segment_divergence(values, others, segments, n).sum()
        return total / 2

    def decoding(self) -> SpanDecoder:
        """To the best span, or none."""
        threshold = self.null_threshold.item()
        return SpanDecoder(self.longest, self.n_best, self.no_answer, self.scorer, threshold)

    def take(self, tuned: SpanDecoder) -> None:
        """The threshold."""
        self.null_threshold.fill_(tuned.null_threshold)
