"""A trained model, ready to use: `model = braid.load(run); model("text")`.

All tasks are predicted in one pass of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from braid.checkpoint.bare import directory_of, load_any
from braid.checkpoint.model_files import LoadedModel
from braid.data.example import Example
from braid.data.groups import GroupData
from braid.decoding.base import Intake
from braid.errors import BraidError
from braid.model.answers import Answers
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import answers
from braid.model.memory import keep_freed_memory
from braid.model.network import TaskSpec
from braid.model.precision import device_of, inference_tokens, resolve
from braid.nn.prepacked import prepack
from braid.predict.cloze import Filled, fill
from braid.predict.features import Reader, check_layer, of_tokens, vectors_of
from braid.predict.generate import Continued, Writing, continue_prompts, joined
from braid.predict.inputs import Input, example_of
from braid.predict.nearest import Neighbours, by_table, in_context
from braid.predict.predictor import Predictor
from braid.predict.splits import changed_files, split_groups
from braid.predict.vectors import Pooling, TokenFeatures
from braid.tasks.clm import ClmHead
from braid.tasks.mlm import MlmHead

CLOZE_TEXTS = 64
"""Texts that go through the encoder at once for a cloze test."""


class Model(Predictor):
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
        super().__init__(directory, loaded.tokenizer, max_length=loaded.max_length, stride=loaded.stride)
        self.network = loaded.network
        self.encoder_sha256 = loaded.encoder_sha256
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

    @cached_property
    def intakes(self) -> Mapping[str, Intake]:
        """See `Predictor`."""
        specs = self.network.specs.items()
        return {name: spec.labelled.intake(spec.facts) for name, spec in specs if spec.predicts}

    def unfit(self, task: str, example: Example) -> str | None:
        """See `Predictor`."""
        return self.network.specs[task].labelled.fits(example)

    def decode(
        self, task: str, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A task's predictions; see `Decoder.decode`."""
        return self.network.head(task).decode(logits, examples, units)

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
        return split_groups(self, split, encoder=self.network.encoder)

    @property
    def hidden_size(self) -> int:
        """Numbers of a hidden state."""
        return self.network.encoder.hidden_size

    def vectors(
        self, *, task: str | None = None, layer: int | None = None, pooling: str | None = None
    ) -> tuple[str, Pooling]:
        """See `Predictor`."""
        return vectors_of(self.reader, task=task, layer=layer, pooling=pooling)

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

    def _through(self, groups: Sequence[GroupData]) -> dict[tuple[int, str], Answers]:
        return answers(
            self.network, groups, batch_tokens=self.batch_tokens, device=self.device, precision=self.precision
        )
