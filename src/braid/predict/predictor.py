"""What every model does with inputs, whatever computes: a run's network, or an exported graph.

Texts are tokenised as each task was trained (on words, on characters, or as plain text); where these give the same
tokens, which is the rule, tasks share the row. Nothing here knows torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from braid.data.example import Example, Window
from braid.data.groups import GroupData
from braid.data.tokens import Tokenizer
from braid.data.windows import Layout, UnitKind, WindowOptions, tokenise
from braid.decoding.base import Intake
from braid.errors import BraidError, did_you_mean
from braid.model.answers import Answers
from braid.predict.inputs import Input, chunked, example_of
from braid.predict.questions import Question, answer, read, told
from braid.predict.results import Result, result_of
from braid.predict.rows import Reading
from braid.predict.vectors import FeaturePooling, Pooling

if TYPE_CHECKING:
    from braid.model.network import TaskSpec
    from braid.predict.whitening import Whitening

CHUNK = 1024
"""Inputs held at a time when streaming: enough to sort by length, little enough to stay small in memory."""


@dataclass(frozen=True, eq=False)
class Answered:
    """What a head answered of the examples `numbers`: their *values*, [n, C] float32 each, and *units* [U, 2], as
    `Decoder.decode` reads them."""

    numbers: list[int]
    values: list[np.ndarray]
    units: list[np.ndarray]


class Predictor(ABC):
    """Reads inputs, asks `_through` what all tasks say of them, and decodes.

    *max_length*, *stride*: tokens of a row, and by which windows of long texts overlap."""

    def __init__(self, directory: Path, tokenizer: Tokenizer, *, max_length: int, stride: int) -> None:
        self.directory, self.tokenizer = directory, tokenizer
        self.max_length, self.stride = max_length, stride

    @property
    @abstractmethod
    def tasks(self) -> dict[str, TaskSpec]:
        """Every task: its config (`.task`) and what it learned (`.facts`, e.g. its labels)."""

    @property
    @abstractmethod
    def intakes(self) -> Mapping[str, Intake]:
        """How those tasks read that say something of new texts, in their order."""

    @abstractmethod
    def unfit(self, task: str, example: Example) -> str | None:
        """Why a task cannot read an input; None: it can."""

    @abstractmethod
    def decode(
        self, task: str, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A task's predictions; see `Decoder.decode`."""

    @abstractmethod
    def vectors(
        self, *, task: str | None = None, layer: int | None = None, pooling: str | None = None
    ) -> tuple[str, Pooling]:
        """What makes one vector of each text, and what these are called. Raises BraidError as `embed` does."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Numbers of a hidden state."""

    @abstractmethod
    def _through(self, groups: Sequence[GroupData]) -> Mapping[tuple[int, str], Answers]:
        """What all tasks answer of groups of rows."""

    @overload
    def __call__(
        self,
        inputs: str | tuple[str, str] | dict[str, Any],
        tasks: Iterable[str] | None = None,
        *,
        logits: bool = False,
    ) -> Result: ...
    @overload
    def __call__(
        self, inputs: list[Any], tasks: Iterable[str] | None = None, *, logits: bool = False
    ) -> list[Result]: ...
    def __call__(
        self, inputs: Any, tasks: Iterable[str] | None = None, *, logits: bool = False
    ) -> Result | list[Result]:
        """Predict one input (a text, a (text, pair) tuple, a row) or a list of them. *tasks*: only these; without it,
        all that can read the input (a task that needs a pair says nothing of a single text)."""
        if isinstance(inputs, list):
            return list(self.stream(inputs, tasks, logits=logits))
        return next(iter(self.stream([inputs], tasks, logits=logits)))

    def stream(
        self, inputs: Iterable[Input], tasks: Iterable[str] | None = None, *, chunk: int = CHUNK, logits: bool = False
    ) -> Iterator[Result]:
        """Results in the order of the inputs, `chunk` inputs at a time: memory does not grow with their number.

        *logits*: results carry logits too, of tasks that can learn from such; their JSON is a row to train on."""
        wanted = self._wanted(tasks)
        for examples in chunked((example_of(given) for given in inputs), chunk):
            yield from self._predict(examples, wanted, required=tasks is not None, logits=logits)

    def embed(
        self,
        texts: Sequence[Input],
        *,
        task: str | None = None,
        layer: int | None = None,
        pooling: FeaturePooling | None = None,
        whitening: Whitening | None = None,
    ) -> np.ndarray:
        """One vector for each text, [n, D] float32; longer texts are cut. That of the `similarity` task *task* (None:
        the first one, where the model has any); else the mean of the last hidden states over all tokens.

        *layer* (0: the embeddings, -1: the last) and *pooling* ask for others; *whitening*: one that `braid embed
        --whiten` saved, loaded by `Whitening.load`. Raises BraidError for a task or layer that is not there."""
        _, pool = self.vectors(task=task, layer=layer, pooling=pooling)
        parts = [part.vectors for part in pool(map(example_of, texts))]
        vectors = np.concatenate(parts) if parts else np.zeros((0, self.hidden_size), np.float32)
        return vectors if whitening is None else whitening(vectors)

    def read(self, inputs: Sequence[Input], tasks: Iterable[str] | None = None) -> Question:
        """Inputs checked and tokenised, for `answer`. Raises as a call does."""
        return self._question([example_of(given) for given in inputs], self._wanted(tasks), required=tasks is not None)

    def answer(self, parts: Sequence[tuple[Question, int]]) -> None:
        """Take inputs (by number) of any questions through the encoder together, each for its own tasks."""
        answer(parts, self._reads, self._through)

    def results(self, questions: Sequence[Question], *, logits: bool = False) -> list[list[Result]]:
        """The results of questions of which all inputs were answered, as a call gives them."""
        out = []
        for question, found in zip(questions, told(questions, self.intakes, self.decode), strict=True):
            results = [result_of(example) for example in question.examples]
            for task, predictions in found.items():
                for number, prediction in predictions.items():
                    results[number].predictions[task] = prediction
            if logits:
                self._teach(question, results)
            out.append(results)
        return out

    def _teach(self, question: Question, results: Sequence[Result]) -> None:
        """Let results carry logits, and the rows' own labels."""
        from braid.predict.teaching import own_label, taught_logits

        alone = len(question.asked) == 1
        for task, by_number in question.found.items():
            spec = self.tasks[task]
            for number, (values, units) in by_number.items():
                prediction = results[number].predictions[task]
                results[number].logits.update(taught_logits(task, spec, values, prediction))
                example = question.examples[number]
                results[number].gold.update(own_label(task, spec, example, units, alone=alone))

    def answered(
        self, examples: Sequence[Example], tasks: Sequence[str], *, required: bool = False
    ) -> dict[str, Answered]:
        """What each task's head answers of the examples that it can read, before it is decoded. *required*: as where
        tasks are asked for by name, it must be able to read all."""
        question = self._question(examples, tasks, required=required)
        self.answer([(question, number) for number in range(len(examples))])
        out = {}
        for task in tasks:
            found = sorted(question.found.get(task, {}).items())
            out[task] = Answered(
                [number for number, _ in found],
                [values for _, (values, _) in found],
                [units for _, (_, units) in found],
            )
        return out

    def _wanted(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        known = list(self.intakes)
        if not known:
            raise BraidError(
                f"no task of {self.directory} says anything of new texts; a language model fills blanks (`braid "
                "cloze`) or writes on (`braid generate`), and any model makes vectors (`model.embed`)"
            )
        if tasks is None:
            return tuple(known)
        names = (tasks,) if isinstance(tasks, str) else tuple(dict.fromkeys(tasks))
        for name in names:
            if name not in known:
                raise BraidError(f"this model has no task {name!r}: {did_you_mean(name, known)}")
        return names

    def _predict(
        self, examples: Sequence[Example], tasks: Sequence[str], *, required: bool, logits: bool
    ) -> list[Result]:
        question = self._question(examples, tasks, required=required)
        self.answer([(question, number) for number in range(len(examples))])
        return self.results([question], logits=logits)[0]

    def _question(self, examples: Sequence[Example], tasks: Sequence[str], *, required: bool) -> Question:
        asked = {task: frozenset(self._fitting(examples, task, required=required)) for task in tasks}
        return read(examples, asked, self._reads, self._windows)

    @property
    def _reads(self) -> dict[str, Reading]:
        return {task: (intake.layout, intake.units) for task, intake in self.intakes.items()}

    def _fitting(self, examples: Sequence[Example], task: str, *, required: bool) -> list[int]:
        """The examples that a task can read. Where it was asked for by name, all must be."""
        unfit = {number: self.unfit(task, example) for number, example in enumerate(examples)}
        wrong = next((number for number, reason in unfit.items() if reason is not None), None)
        if required and wrong is not None:
            where = f"{examples[wrong].place}: " if examples[wrong].place else f"input {wrong + 1}: "
            raise BraidError(f"{where}task {task!r} cannot read it: {unfit[wrong]}")
        return [number for number, reason in unfit.items() if reason is None]

    def _windows(self, examples: Sequence[Example], layout: Layout, units: UnitKind) -> list[list[Window]]:
        options = WindowOptions(max_length=self.max_length, stride=self.stride, units=units, layout=layout)
        return list(tokenise(examples, self.tokenizer, options))
