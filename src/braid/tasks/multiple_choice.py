"""multiple_choice: one of the options of each question, two or more of them, as many as the row has.

`text` is what the question is about, `pair` the question (or nothing), `options` the answers to choose from.
Shape legend: R rows (one for each option), E examples, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.windows import Layout
from braid.decoding.base import Need, Together
from braid.decoding.multiple_choice import Choice as Choice
from braid.decoding.multiple_choice import MultipleChoiceDecoder
from braid.errors import LabelError, SkippedLabelError
from braid.metrics.choice import ChoiceMeter
from braid.nn.divergence import segment_divergence
from braid.nn.linear import Linear
from braid.nn.segments import segment_logsumexp
from braid.tasks.base import Facts, Head, Hidden, Target
from braid.tasks.row import RowTask


class MultipleChoice(RowTask):
    """One of the options of each question."""

    type: Literal["multiple_choice"] = "multiple_choice"
    hub_task: ClassVar[str] = "multiple-choice"
    layout: ClassVar[Layout] = "options"
    together: ClassVar[Together] = "example"
    document: ClassVar[Literal["row", "text", "pair"]] = "text"
    main_metric: ClassVar[str] = "accuracy"
    comparable: ClassVar[bool] = True

    @property
    def need(self) -> Need:
        """Options."""
        return Need("options", "it needs `options`, a list of two or more to choose from")

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """Nothing: every row brings its own options. Raises LabelError where there is no label at all."""
        if not any(True for _ in labels):
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        return {}

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`right` [1]: 1 where this row's option is the right one; `first` [1]: 1 for the example's first row."""
        right = index_of(label, example)
        return {
            "right": np.array([window.number == right], dtype=np.int64),
            "first": np.array([window.number == 0], dtype=np.int64),
        }

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> int:
        """The place of the right option."""
        return index_of(label, example)

    def count(self, target: Target) -> int:
        """1 an example."""
        return int(target["first"][0])

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooler, dropout, linear."""
        return MultipleChoiceHead(self, hidden_size)

    def meter(self, facts: Facts) -> ChoiceMeter:
        """accuracy."""
        return ChoiceMeter()

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Where somebody is: two to four places to choose from, of which one is said to be sure."""
        places = ("Rome", "Oslo", "Lima", "Kyoto")
        rows = []
        for k in range(n):
            right, size = k % 4, max(2, k % 4 + 1)
            options = [f"{'surely' if at == right else 'perhaps'} {places[at]}" for at in range(size)]
            rows.append({"text": f"person {k} went away", "pair": "where to ?", "options": options, "label": right})
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """The score of one option [1, 1]."""
        return np.array([[50.0 * target["right"][0]]], dtype=np.float32)

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The label as it is written."""
        return [str(label)]


class MultipleChoiceHead(Head):
    """Row features and one output: the score of an option; softmax over an example's options."""

    def __init__(self, task: MultipleChoice, hidden_size: int) -> None:
        super().__init__()
        self.features = task.features(hidden_size)
        self.output = Linear(hidden_size, 1)

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Scores [R, 1]."""
        scores_R1: Tensor = self.output(self.features(hidden.last, hidden.batch, rows))
        return scores_R1

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy over the options of each example in fp32, summed over examples."""
        score_R = logits.float().squeeze(1)
        total_E = segment_logsumexp(score_R, targets.examples, int(targets.examples.max()) + 1)
        return total_E.sum() - score_R[targets.values["right"] == 1].sum()

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of the options of each example, summed over examples."""
        n = int(targets.examples.max()) + 1
        return segment_divergence(first.squeeze(1), second.squeeze(1), targets.examples, n).sum()

    def decoding(self) -> MultipleChoiceDecoder:
        """By softmax over options."""
        return MultipleChoiceDecoder()


def index_of(label: Any, example: Example) -> int:
    """The place of the right option: a number from 0, or the text of an option. Raises LabelError for what is no
    option of the row, SkippedLabelError where the text is that of several."""
    options = example.options or ()
    if isinstance(label, dict) and "index" in label:
        label = label["index"]  # a prediction
    if isinstance(label, str) and label in options:
        if options.count(label) > 1:
            raise SkippedLabelError("the right option stands there more than once")
        return options.index(label)
    if isinstance(label, str) and label.strip().isdecimal():
        label = int(label)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise LabelError(f"the label is {label!r:.60}; expected the place of an option (from 0) or its very text")
    if not 0 <= label < len(options):
        raise LabelError(f"the label is {label}, but there are {len(options)} options, counted from 0")
    return int(label)
