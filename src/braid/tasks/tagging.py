"""tagging: a tag for each word or character (named entities, slots, word segmentation, parts of speech).

Shape legend: T tokens, R rows that carry labels, U units of one example, N units of all rows, D hidden size, C tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, id_of
from braid.data.soft_labels import hard_label, is_soft, teacher_logits
from braid.data.tag_labels import TagLabels, align, is_spans, read_spans, read_tags
from braid.data.tag_schemes import (
    Scheme,
    detect_scheme,
    illegal_positions,
    is_typed,
    spans_of,
    tags_of,
)
from braid.data.windows import Layout, UnitKind
from braid.decoding.crf import legality
from braid.decoding.tagging import Span as Span
from braid.decoding.tagging import TaggingDecoder
from braid.decoding.tagging import Tags as Tags
from braid.errors import LabelError
from braid.metrics.entities import EntityMeter
from braid.metrics.meter import Meter
from braid.metrics.segmentation import SegmentationMeter
from braid.metrics.tags import TagMeter
from braid.nn.crf import Crf
from braid.nn.divergence import class_divergence
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear
from braid.nn.losses import class_loss, soft_loss
from braid.nn.segments import unit_places
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Target
from braid.tasks.soft import Soft, Translate, by_label, taught, teacher_target


class Tagging(LabelledTask):
    """A tag for each word or character: entities, slots, word segmentation, parts of speech."""

    type: Literal["tagging"] = "tagging"
    hub_task: ClassVar[str] = "token-classification"
    bears_changes: ClassVar[bool] = True
    layout: ClassVar[Layout] = "windows"
    main_metric: ClassVar[str] = "f1"
    comparable: ClassVar[bool] = True
    hard_key: ClassVar[str] = "tags"

    labels: list[str] | None = None
    """All tags (or, where rows carry spans, all types), in their order. None: those of the training data."""

    scheme: Literal["auto", "bio", "bioes", "bmes", "plain"] = "auto"
    """How tags mark spans. `auto`: seen from the tags; `bio` where rows carry spans."""

    crf: bool = False
    """A conditional random field on top, which knows what the scheme forbids."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal` (without a CRF): units that are already right count less (Lin et al. 2017)."""

    gamma: float = Field(default=2.0, ge=0)
    """How much less: the exponent of the focal loss."""

    soft: Soft = Soft()
    """How rows with a teacher's logits or probabilities are learned from."""

    units: Literal["auto", "words", "characters"] = "auto"
    """What has a tag, in rows that are not divided into words already. `auto`: characters where the words of the
    training rows are single characters, or where words would cut through a span; else words."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_strings(cls, value: Any) -> Any:
        return as_strings(value) if isinstance(value, list | tuple) else value

    @property
    def unit_kind(self) -> UnitKind | Literal["auto"]:
        """The `units` option."""
        return self.units

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels`: the tags; `scheme`; `units`: words or characters; `spans`: whether rows carry spans; `iob1`:
        whether tags are read as IOB1, to be written as BIO; `soft`: whether rows carry a teacher's opinion.

        Raises LabelError where there is no label, labels are of two kinds, or tags do not fit the options."""
        seen, taught = TagLabels(), False
        for label, example in zip(labels, examples, strict=True):
            taught = taught or is_soft(label)
            seen.add(_hard(label), example)
        scheme, iob1 = seen.scheme(self.scheme, self.labels)
        return {
            "labels": seen.inventory(scheme, iob1=iob1, given=self.labels),
            "scheme": scheme,
            "units": seen.units() if self.units == "auto" else self.units,
            "spans": seen.spans,
            "iob1": iob1,
            "soft": taught,
        }

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`tags` [units that the window owns]: places in the inventory; `teacher` [units x C]: logits, where rows have
        some."""
        owned = slice(window.first_unit, window.last_unit)
        tags = self.gold(label, example, window.units, facts)
        logits = teacher_logits(label, facts["labels"])
        if logits is not None and logits.shape != (len(tags), len(facts["labels"])):
            raise LabelError(
                f"a teacher's logits have {len(logits)} rows for {len(tags)} units of {example.text!r:.60}"
            )
        ids = np.array([id_of(tag, facts["labels"]) for tag in tags[owned]], dtype=np.int64)
        return {"tags": ids, **teacher_target(label, facts, owned)}

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> list[str]:
        """The tag of each unit [U]; spans and IOB1 tags are written in the task's scheme."""
        scheme: Scheme = facts["scheme"]
        label = _hard(label)
        if is_spans(label) or (facts["spans"] and label == []):
            return tags_of(align(read_spans(label, example), units, example), len(units), scheme)
        tags = read_tags(label, example)
        if len(tags) != len(units):
            kind = "words" if example.words is not None else facts["units"]
            raise LabelError(f"{len(tags)} tags for {len(units)} {kind} of {example.text!r:.60}; each needs one tag")
        return tags_of(spans_of(tags, scheme), len(tags), scheme) if facts["iob1"] else tags

    def count(self, target: Target) -> int:
        """Units of the row."""
        return len(target["tags"])

    def translation(self, theirs: Facts, ours: Facts) -> Translate:
        """By the tags' names, where both tag the same units."""
        if theirs["units"] != ours["units"]:
            raise LabelError(f"the teacher tags {theirs['units']}, this task {ours['units']}")
        return by_label(theirs, ours)

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Dropout and linear on each unit's first piece, and the CRF."""
        return TaggingHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> Meter:
        """Entities, words of a segmentation, or plain tags."""
        scheme, labels = facts["scheme"], facts["labels"]
        if scheme == "plain":
            return TagMeter(labels)
        return SegmentationMeter(scheme) if _segments(scheme, labels) else EntityMeter(scheme)

    def best(self, facts: Facts) -> str:
        """F1 of what the tags mark; plain tags mark nothing: accuracy."""
        return self.metric or ("accuracy" if facts["scheme"] == "plain" else "f1")

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short sentences with a person and a place of one or two words."""
        people, places = (["Anna"], ["Bo", "Li"], ["Carl"]), (["Rome"], ["New", "York"], ["Oslo"], ["Hong", "Kong"])
        rows = []
        for i in range(n):
            who, where = people[i % 3], places[i % 4]
            words = [*who, "left", *where, "at", str(i)]
            marks = [(0, len(who), "PER"), (len(who) + 1, len(who) + 1 + len(where), "LOC")]
            rows.append({"words": words, "label": tags_of(marks, len(words), "bio")})
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """Logits [U, C] that are large at each tag, far beyond what a CRF's fresh transitions could outweigh."""
        return 50.0 * np.eye(len(facts["labels"]), dtype=np.float32)[target["tags"]]

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The tags, or the labels of the spans."""
        label = _hard(label)
        return [str(item.get("label")) if isinstance(item, dict) else str(item) for item in label or []]

    def check_label(self, label: Any, example: Example, facts: Facts | None = None) -> list[str]:
        """Tags that the scheme forbids where they stand."""
        label = _hard(label)
        if is_spans(label) or not label:
            return []
        tags = read_tags(label, example)
        scheme = detect_scheme(set(tags)) if self.scheme == "auto" else self.scheme
        wrong = illegal_positions(tags, scheme)
        return [f"{scheme}: {tags[at]!r} at unit {at} after {_before(tags, at)}" for at in wrong]


def _hard(label: Any) -> Any:
    """The tags, of a label that carries a teacher's opinion too: as our own predictions have both."""
    hard = hard_label(label, Tagging.hard_key)
    if hard is None:
        raise LabelError('a teacher\'s opinion on words needs the tags beside it: {"tags": [...], "logits": ...}')
    return hard


def _before(tags: Sequence[str], at: int) -> str:
    end = ", the last unit" if at == len(tags) - 1 else ""
    return (repr(tags[at - 1]) if at else "nothing") + end


def _segments(scheme: Scheme, labels: Sequence[str]) -> bool:
    """Whether the tags cut the whole text into words: they have no types and no O."""
    return scheme != "plain" and not is_typed(labels) and "O" not in labels


class TaggingHead(Head):
    """Dropout and one linear layer on the first piece of each unit; cross-entropy, or a CRF's likelihood."""

    def __init__(self, task: Tagging, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.scheme: Scheme = facts["scheme"]
        self.segments = _segments(self.scheme, self.labels)
        self.task = task
        self.dropout = Dropout(task.dropout)
        self.classifier = Linear(hidden_size, len(self.labels))
        self.crf = self._crf() if task.crf else None

    def _crf(self) -> Crf:
        found = legality(tuple(self.labels), self.scheme)
        return Crf(len(self.labels), *map(torch.from_numpy, (found.start_C, found.end_C, found.pairs_CC)))

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Logits [N, C] of the units that the windows `rows` own."""
        chosen_N, _ = unit_places(hidden.batch, rows)
        logits_NC: Tensor = self.classifier(self.dropout(hidden.last[hidden.batch.words[chosen_N]]))
        return logits_NC

    def sizes(self, batch: Batch, rows: Tensor) -> Tensor:
        """Units that each window owns."""
        return batch.cu_words[rows + 1] - batch.cu_words[rows]

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """In fp32, summed over units; with a CRF over windows (its count is the units still, so that both losses are
        of one size). What a teacher says is learned from the emissions alone."""
        tags_N, task, sizes_R = targets.values["tags"], self.task, targets.cu["tags"].diff()
        weight_R, soft = taught(
            logits, targets, torch.ones_like(sizes_R, dtype=torch.bool), sizes_R, task.soft, soft_loss
        )
        if self.crf is not None:
            return self.crf.negative_log_likelihood(logits, tags_N, targets.cu["tags"], weight_R) + soft
        hard_N = class_loss(logits, tags_N, kind=task.loss, gamma=task.gamma)
        return (hard_N * torch.repeat_interleave(weight_R, sizes_R)).sum() + soft

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of all tags, summed over units; with a CRF of the emissions alone."""
        return class_divergence(first, second).sum()

    def decoding(self) -> TaggingDecoder:
        """Each unit's best tag, or the best legal sequence of tags."""
        if self.crf is None:
            return TaggingDecoder(self.labels, self.scheme)
        scores = (self.crf.start, self.crf.end, self.crf.transitions)
        return TaggingDecoder(self.labels, self.scheme, *(score.detach().float().cpu().numpy() for score in scores))
