"""A trained model, ready to use: `model = braid.load(run); model("text")`.

All tasks are predicted in one pass of the encoder. Texts are tokenised as each task was trained (on words, on
characters, or as plain text); where these give the same tokens, which is the rule, tasks share the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from braid.checkpoint.bare import directory_of, load_any
from braid.checkpoint.model_files import LoadedModel
from braid.data.example import Example, Window
from braid.data.groups import GroupData
from braid.data.windows import Layout, UnitKind, WindowOptions, tokenise
from braid.errors import BraidError, did_you_mean
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import Answers, answers
from braid.model.memory import keep_freed_memory
from braid.model.network import TaskSpec
from braid.model.precision import device_of, inference_tokens, resolve
from braid.nn.prepacked import prepack
from braid.predict.cloze import Filled, fill
from braid.predict.features import (
    FeaturePooling,
    Pool,
    Reader,
    TokenFeatures,
    check_layer,
    of_tokens,
    pooled,
    pooling_of,
)
from braid.predict.generate import Continued, Writing, continue_prompts, joined
from braid.predict.inputs import Input, chunked, example_of
from braid.predict.nearest import Neighbours, by_table, in_context
from braid.predict.questions import Question, answer, read, told
from braid.predict.results import Result, result_of
from braid.predict.rows import Reading
from braid.predict.splits import changed_files, split_groups
from braid.predict.teaching import own_label, taught_logits
from braid.predict.whitening import Whitening
from braid.tasks.clm import ClmHead
from braid.tasks.mlm import MlmHead

Single = str | tuple[str, str] | dict[str, Any]
"""One input, told from a list of them."""

CLOZE_TEXTS = 64
"""Texts that go through the encoder at once for a cloze test."""

CHUNK = 1024
"""Inputs held at a time when streaming: enough to sort by length, little enough to stay small in memory."""


@dataclass(frozen=True, eq=False)
class Answered:
    """What a head answered of the examples `numbers`: their *values*, [n, C] float32 each, and *units* [U, 2], as
    `Head.decode` reads them."""

    numbers: list[int]
    values: list[np.ndarray]
    units: list[np.ndarray]


class Model:
    """One encoder with the heads of all its tasks."""

    def __init__(
        self,
        loaded: LoadedModel,
        directory: Path,
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.directory = directory
        self.network = loaded.network
        self.tokenizer = loaded.tokenizer
        self.encoder_sha256 = loaded.encoder_sha256
        self.max_length, self.stride = loaded.max_length, loaded.stride
        self.device = device_of(device)
        self.precision = resolve(precision or loaded.precision, self.device)
        self.batch_tokens = inference_tokens(batch_tokens, self.device)
        self.network.to(self.device).eval()
        keep_freed_memory()
        if self.precision == "bf16":
            prepack(self.network, torch.bfloat16)

    @classmethod
    def load(cls, run: Path, *, tasks: Sequence[str] | None = None, force: bool = False, **options: Any) -> Model:
        """The model in a run directory, or a bare encoder in transformers' layout (`package:NAME/dir`: inside an
        installed package); *tasks*: only these; *force*: also heads of another encoder.

        Options: `device`, `precision` (None: what the recipe trained in), `batch_tokens` (None:
        chosen by the device). Raises RunDirectoryError."""
        loaded = load_any(Path(run), tasks=None if tasks is None else list(tasks), force=force)
        return cls(loaded, directory_of(Path(run)), **options)

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """Every task: its config (`.task`) and what it learned (`.facts`, e.g. its labels)."""
        return dict(self.network.specs)

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

    def __repr__(self) -> str:
        tasks = ", ".join(f"{name} ({spec.task.type})" for name, spec in self.network.specs.items())
        return f"<Model {self.directory}: {tasks}>"

    def changed_files(self, split: str = "test") -> list[str]:
        """Files of a split that are no longer what they were when the run was trained: its figures are of other
        data."""
        return changed_files(self.directory, split)

    def evaluate(
        self, split: str = "test", *, tune: bool = False, progress: Callable[[int], None] = lambda rows: None
    ) -> Scores:
        """{task: {metric: value}} on a split of the data that the run's recipe names. *tune*: first let heads set their
        thresholds by these labels, as training does on dev."""
        return evaluate(
            self.network,
            self.groups(split),
            tune=tune,
            batch_tokens=self.batch_tokens,
            device=self.device,
            precision=self.precision,
            progress=progress,
        )

    def groups(self, split: str) -> list[GroupData]:
        """The rows of a split of the data that the run's recipe names, of the tasks that the model has. Raises
        BraidError where there are none."""
        return split_groups(self.reader, self.directory, split)

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
        _, pool = self.pooling(task=task, layer=layer, pooling=pooling)
        parts = [part.vectors for part in pooled(self.reader, map(example_of, texts), pool)]
        size = self.network.encoder.hidden_size
        vectors = np.concatenate(parts) if parts else np.zeros((0, size), np.float32)
        return vectors if whitening is None else whitening(vectors)

    def pooling(
        self, *, task: str | None = None, layer: int | None = None, pooling: str | None = None
    ) -> tuple[str, Pool]:
        """How `embed` makes one vector of a text, and what that is called. Raises BraidError as `embed` does."""
        return pooling_of(self.network, task=task, layer=layer, pooling=pooling)

    def embed_tokens(self, texts: Iterable[Input], *, layer: int = -1) -> Iterator[TokenFeatures]:
        """Hidden states of every token of each text, special tokens left out, streaming. Raises BraidError for a layer
        that is not there."""
        check_layer(self.network, layer)
        for part in of_tokens(self.reader, map(example_of, texts), layer=layer):
            yield from part.features

    def nearest(
        self,
        words: Sequence[str] | Sequence[tuple[str, str]],
        *,
        candidates: Sequence[str] | None = None,
        top: int = 10,
        layer: int = -1,
        told: Callable[[str, int, int | None], None] = lambda doing, done, total: None,
    ) -> list[Neighbours]:
        """The *top* candidates (None: the words of the vocabulary) nearest to each word by the table of the tokens'
        vectors; of each (sentence, word) by hidden states of a *layer*, each candidate put in the word's place.

        Raises BraidError for words that the vocabulary has no piece of, or that do not stand in their sentence."""
        listed = None if candidates is None else list(candidates)
        plain = [given for given in words if isinstance(given, str)]
        if len(plain) == len(words):
            table = self.network.encoder.word_embeddings.detach().float().cpu().numpy()
            return by_table(plain, self.tokenizer, table, candidates=listed, top=top) if plain else []
        if plain:
            raise BraidError("give either words or (sentence, word) pairs, not both")
        pairs = [given for given in words if not isinstance(given, str)]
        options: dict[str, Any] = {"candidates": listed, "top": top, "layer": layer, "told": told}
        return [in_context(self.reader, text, word, **options) for text, word in pairs]

    @property
    def reader(self) -> Reader:
        """The network with what its texts are read by, for features."""
        return Reader(
            network=self.network,
            tokenizer=self.tokenizer,
            max_length=self.max_length,
            stride=self.stride,
            batch_tokens=self.batch_tokens,
            device=self.device,
            precision=self.precision,
        )

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        task: str | None = None,
        told: Callable[[str], None] = lambda text: None,
        **options: Any,
    ) -> list[Continued]:
        """Continue prompts with the `clm` task *task* (None: the first one). Options: those of
        `braid.predict.generate.Writing`; *told* hears the first prompt with its continuation so far, token by token.

        Raises BraidError for a model without such a task, or a prompt without room."""
        given = [prompts] if isinstance(prompts, str) else list(prompts)
        name = self._text_task("clm", task)
        head = self.network.head(name)
        assert isinstance(head, ClmHead)
        return continue_prompts(
            self.network.encoder,
            head,
            self.tokenizer,
            given,
            Writing(**options),
            device=self.device,
            told=lambda ids: told(joined(self.tokenizer, given[0], ids)),
        )

    def cloze(
        self, texts: str | Sequence[str], *, task: str | None = None, top: int = 5, seed: int = 1
    ) -> list[Filled]:
        """What the `mlm` task *task* (None: the first one) puts where texts have a mask; where there is none, one is
        put in, at a place drawn by the seed.

        Raises BraidError for a model without such a task, or a text that it cannot read."""
        name = self._text_task("mlm", task)
        head = self.network.head(name)
        assert isinstance(head, MlmHead)
        given = [texts] if isinstance(texts, str) else list(texts)
        found: list[Filled] = []
        for start in range(0, len(given), CLOZE_TEXTS):
            found += fill(
                self.network.encoder,
                head,
                self.tokenizer,
                given[start : start + CLOZE_TEXTS],
                top=top,
                max_length=self.max_length,
                seed=seed,
                device=self.device,
            )
        return found

    def _text_task(self, kind: str, wanted: str | None) -> str:
        """A task of a type by its name, or the first one. Raises BraidError where there is none."""
        found = [name for name, spec in self.network.specs.items() if spec.task.type == kind]
        if wanted is not None and wanted not in found:
            raise BraidError(f"{self.directory} has no {kind} task {wanted!r}; it has {', '.join(found) or 'none'}")
        if not found:
            have = ", ".join(f"{name} ({spec.task.type})" for name, spec in self.network.specs.items())
            raise BraidError(f"this needs a model with a `{kind}` task; {self.directory} has {have or 'no task'}")
        return wanted or found[0]

    def _wanted(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        known = [name for name, spec in self.network.specs.items() if spec.predicts]
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

    def read(self, inputs: Sequence[Input], tasks: Iterable[str] | None = None) -> Question:
        """Inputs checked and tokenised, for `answer`. Raises as a call does."""
        return self._question([example_of(given) for given in inputs], self._wanted(tasks), required=tasks is not None)

    def answer(self, parts: Sequence[tuple[Question, int]]) -> None:
        """Take inputs (by number) of any questions through the encoder together, each for its own tasks."""
        answer(parts, self._reads, self._through)

    def results(self, questions: Sequence[Question], *, logits: bool = False) -> list[list[Result]]:
        """The results of questions of which all inputs were answered, as a call gives them."""
        out = []
        for question, found in zip(questions, told(questions, self.network), strict=True):
            results = [result_of(example) for example in question.examples]
            for task, predictions in found.items():
                for number, prediction in predictions.items():
                    results[number].predictions[task] = prediction
                    if logits:
                        example, alone = question.examples[number], len(question.asked) == 1
                        spec, (values, units) = self.network.specs[task], question.found[task][number]
                        results[number].logits.update(taught_logits(task, spec, values, prediction))
                        results[number].gold.update(own_label(task, spec, example, units, alone=alone))
            out.append(results)
        return out

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

    def _question(self, examples: Sequence[Example], tasks: Sequence[str], *, required: bool) -> Question:
        asked = {task: frozenset(self._fitting(examples, task, required=required)) for task in tasks}
        return read(examples, asked, self._reads, self._windows)

    @property
    def _reads(self) -> dict[str, Reading]:
        return {task: spec.task.reads(spec.facts) for task, spec in self.network.specs.items() if spec.predicts}

    def _through(self, groups: Sequence[GroupData]) -> dict[tuple[int, str], Answers]:
        return answers(
            self.network, groups, batch_tokens=self.batch_tokens, device=self.device, precision=self.precision
        )

    def _fitting(self, examples: Sequence[Example], task: str, *, required: bool) -> list[int]:
        """The examples that a task can read. Where it was asked for by name, all must be."""
        spec = self.network.specs[task]
        unfit = {number: spec.labelled.fits(example) for number, example in enumerate(examples)}
        wrong = next((number for number, reason in unfit.items() if reason is not None), None)
        if required and wrong is not None:
            where = f"{examples[wrong].place}: " if examples[wrong].place else f"input {wrong + 1}: "
            raise BraidError(f"{where}task {task!r} cannot read it: {unfit[wrong]}")
        return [number for number, reason in unfit.items() if reason is None]

    def _windows(self, examples: Sequence[Example], layout: Layout, units: UnitKind) -> list[list[Window]]:
        options = WindowOptions(max_length=self.max_length, stride=self.stride, units=units, layout=layout)
        return list(tokenise(examples, self.tokenizer, options))
