"""What a prediction returns: one `Result` per input, with every task's typed prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from braid.data.example import Example
from braid.decoding.base import Prediction


@dataclass(frozen=True)
class Result(Mapping[str, Any]):
    """Predictions for one input, by task: `result["sentiment"].label`, `result["ner"].spans`.

    Offsets of spans count characters of `text`, which is the user's own string (for `words`: those words joined)."""

    text: str
    pair: str | None = None
    words: tuple[str, ...] | None = None
    query: str | None = None
    options: tuple[str, ...] | None = None
    predictions: dict[str, Prediction] = field(default_factory=dict)
    logits: dict[str, Any] = field(default_factory=dict)
    """What rows carry for a student: task -> {"labels", "values"}, or a number, where logits were asked for."""
    gold: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The labels that rows had of their own, as a student's rows carry them beside the logits."""

    def __getitem__(self, task: str) -> Any:
        """Raises KeyError for a task that the model does not have, or that cannot read this input."""
        try:
            return self.predictions[task]
        except KeyError:
            there = ", ".join(self.predictions) or "none"
            raise KeyError(
                f"no prediction of {task!r} for this input (there are: {there}); name the task in the call, "
                "`model(inputs, [task])`, to be told why"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    def to_json(self) -> dict[str, Any]:
        """The input, then one key per task; a row of `braid predict`'s output."""
        row = self.given()
        for task, prediction in self.predictions.items():
            row[task] = prediction.to_json()
            if task in self.logits:
                row[task] = {**row[task], **self.gold.get(task, {}), "logits": self.logits[task]}
        return row

    def to_write(self) -> dict[str, Any]:
        """As `to_json`, without logits, for a writer that takes dataclasses as they are: predictions of which that
        gives the same JSON are not copied."""
        row = self.given()
        for task, prediction in self.predictions.items():
            own = type(prediction).to_json is not Prediction.to_json
            row[task] = prediction.to_json() if own else prediction
        return row

    def given(self) -> dict[str, Any]:
        """The input alone."""
        row: dict[str, Any] = {"text": self.text}
        if self.pair is not None:
            row["pair"] = self.pair
        if self.words is not None:
            row["words"] = list(self.words)
        if self.query is not None:
            row["query"] = self.query
        if self.options is not None:
            row["options"] = list(self.options)
        return row


def result_of(example: Example) -> Result:
    """An empty result for an input."""
    return Result(example.text, example.pair, example.words, example.query, example.options)
