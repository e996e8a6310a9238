"""An exported directory, ready to predict: `braid.load(DIR)` gives it, and it is used as a run's model is.

Predicting with an ONNX graph needs ONNX Runtime and NumPy: no torch is imported. Figures on labelled data, which need
the task types themselves, do import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from braid.checkpoint.files import read_mapping
from braid.data.cache import TokenRows, record_batch
from braid.data.example import Example
from braid.data.groups import GroupData
from braid.data.vocabularies import load_tokenizer
from braid.data.windows import WindowOptions, tokenise
from braid.decoding.base import Intake
from braid.errors import BraidError
from braid.export.manifest import MANIFEST, check_manifest, chosen_tasks
from braid.export.rows import EMBEDDING, answers_of, padded
from braid.export.session import FILES, OnnxSession, Session, TorchSession, usual_threads
from braid.export.speakers import Speaker, read_speaker, whole_head
from braid.model.answers import Answers, Piece, Row, by_length, collected, pieces, wanted
from braid.predict.inputs import chunked
from braid.predict.predictor import Predictor
from braid.predict.vectors import CHUNK, Pooled, Pooling

if TYPE_CHECKING:
    from braid.model.evaluate import Scores
    from braid.model.network import TaskSpec

BATCH_TOKENS = 256
"""Tokens of a batch on a processor: measured with `benchmarks/export.py`'s encoder, ONNX Runtime does half as many
texts a second with 2,048, whose states leave the caches."""


class ExportedModel(Predictor):
    """One graph with the answers of all its tasks (*manifest*: what it says of itself), and *speakers*, by task, that
    decode them."""

    def __init__(
        self,
        directory: Path,
        manifest: Mapping[str, Any],
        session: Session,
        speakers: Mapping[str, Speaker],
        *,
        batch_tokens: int | None = None,
    ) -> None:
        tokenizer = load_tokenizer(directory / "tokenizer")
        super().__init__(directory, tokenizer, max_length=manifest["max_length"], stride=manifest["stride"])
        self.manifest, self.session, self.speakers = dict(manifest), session, dict(speakers)
        self.encoder_sha256 = str(manifest["encoder"]["sha256"])
        self.batch_tokens = batch_tokens or BATCH_TOKENS

    @classmethod
    def load(
        cls, run: Path, *, tasks: Sequence[str] | None = None, force: bool = False, **options: Any
    ) -> ExportedModel:
        """The model in an exported directory; *tasks*: only these; *force*: also those of another export. Options:
        `device`, `batch_tokens`, `threads` (None: `usual_threads`), `trusted`; `precision` is what it was exported in.

        *trusted*: needed for a `torch.export` program: torch reads such files with pickle and by evaluating
        expressions, so that one from elsewhere could run code. An ONNX graph cannot.

        Raises RunDirectoryError for a directory that is incomplete, damaged or of another version."""
        directory = Path(run)
        manifest = read_mapping(directory / MANIFEST)
        check_manifest(manifest, directory / MANIFEST)
        if manifest["to"] == "torch" and not options.get("trusted"):
            raise BraidError(
                f"{directory} holds a torch.export program, and reading one can run code that is in it. Where you "
                "know who made it, say so: braid.load(directory, trusted=True), or --trust; an ONNX export needs no "
                "trust"
            )
        precision = options.get("precision")
        if precision not in (None, "auto", manifest["precision"]):
            raise BraidError(f"{directory} was exported in {manifest['precision']}; it has no {precision}")
        sha256 = None if force else str(manifest["encoder"]["sha256"])
        speakers = {}
        for name in chosen_tasks(directory, manifest, tasks):
            found = read_speaker(directory / "tasks" / name, sha256)
            speakers[name] = found or whole_head(directory, name, manifest["encoder"], force=force)
        session = _session(directory, manifest, options)
        return cls(directory, manifest, session, speakers, batch_tokens=options.get("batch_tokens"))

    def __repr__(self) -> str:
        kind = f"{self.manifest['to']} {self.manifest['precision']}"
        return f"<ExportedModel {self.directory} ({kind}): {', '.join(self.speakers)}>"

    @cached_property
    def tasks(self) -> dict[str, TaskSpec]:
        """Every task: its config (`.task`) and what it learned (`.facts`). To ask imports the task types, and torch."""
        from braid.checkpoint.model_files import load_specs

        names = list(self.speakers)
        return load_specs(self.directory, self.hidden_size, self.encoder_sha256, tasks=names, force=True)

    @cached_property
    def intakes(self) -> Mapping[str, Intake]:
        """See `Predictor`."""
        return {name: speaker.intake for name, speaker in self.speakers.items()}

    def unfit(self, task: str, example: Example) -> str | None:
        """See `Predictor`."""
        return self.speakers[task].unfit(example)

    def decode(
        self, task: str, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A task's predictions; see `Decoder.decode`."""
        return self.speakers[task].decode(logits, examples, units)

    def changed_files(self, split: str = "test") -> list[str]:
        """See `Model`."""
        from braid.predict.splits import changed_files

        return changed_files(self.directory, split)

    def groups(self, split: str) -> list[GroupData]:
        """See `Model`."""
        from braid.predict.splits import split_groups

        return split_groups(self, split, encoder=None)

    def evaluate(
        self, split: str = "test", *, tune: bool = False, progress: Callable[[int], None] = lambda rows: None
    ) -> Scores:
        """See `Model`."""
        return self.scores(self.groups(split), tune=tune, progress=progress)

    def scores(
        self, groups: Sequence[GroupData], *, tune: bool = False, progress: Callable[[int], None] = lambda rows: None
    ) -> Scores:
        """{task: {metric: value}} on groups with labels."""
        from braid.model.evaluate import judged, labelled

        found = self._through([labelled(group) for group in groups], progress)
        judgements = judged(found, self.tasks, self.speakers.__getitem__, tune=tune)
        return {task: one.meter.compute() for task, one in judgements.items()}

    @property
    def hidden_size(self) -> int:
        """Numbers of a hidden state."""
        return int(self.manifest["encoder"]["hidden_size"])

    def vectors(
        self, *, task: str | None = None, layer: int | None = None, pooling: str | None = None
    ) -> tuple[str, Pooling]:
        """The one vector of a text that the graph gives: a `similarity` task's, or the mean of the last layer."""
        makers = [name for name, speaker in self.speakers.items() if speaker.embeds]
        if layer not in (None, -1) or pooling not in (None, "mean") or (makers and (layer, pooling) != (None, None)):
            raise BraidError(f"{self.directory}: an exported graph has one vector of a text only; use the run itself")
        if task is not None and task not in makers:
            raise BraidError(f"task {task!r} makes no embeddings; those that do: {', '.join(makers) or 'none'}")
        output = task or next(iter(makers), EMBEDDING)
        return output if output == EMBEDDING else f"task {output}", lambda examples: self._pooled(examples, output)

    @property
    def reader(self) -> None:
        """None: no hidden state leaves the graph."""
        return None

    @property
    def network(self) -> NoReturn:
        """Raises BraidError: there is a graph in its place."""
        self.nearest()

    def nearest(self, *given: Any, **more: Any) -> NoReturn:
        """Raises BraidError: the table of tokens stays in the graph."""
        raise BraidError(f"{self.directory}: an exported graph has no table of tokens; use the run itself")

    def embed_tokens(self, texts: Iterable[Any], *, layer: int = -1) -> NoReturn:
        """Raises BraidError: no hidden state leaves the graph."""
        raise BraidError(f"{self.directory}: an exported graph gives no hidden states; use the run itself")

    def generate(self, *given: Any, **more: Any) -> NoReturn:
        """Raises BraidError: language models are left out of graphs."""
        raise BraidError(f"{self.directory}: an exported graph neither writes nor fills blanks; use the run itself")

    cloze = generate

    def _through(
        self, groups: Sequence[GroupData], progress: Callable[[int], None] = lambda rows: None
    ) -> dict[tuple[int, str], Answers]:
        found: list[Piece] = []
        for rows in by_length(groups, self.batch_tokens):
            places = wanted(groups, rows, lambda task: self.intakes[task].layout)
            if places:
                found += self._said(groups, rows, places)
            progress(len(rows))
        return collected(groups, [found])

    def _said(
        self, groups: Sequence[GroupData], rows: Sequence[Row], places: Mapping[str, Sequence[int]]
    ) -> Iterator[Piece]:
        """What all tasks answer of a batch, in one run of the graph."""
        given = padded(groups, rows)
        values = dict(zip(places, self._run(given.inputs, list(places)), strict=True))
        for task, (flat, sizes) in answers_of(values, places, given, self.manifest["answers"]).items():
            yield from pieces(rows, task, places[task], flat, sizes)

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        return self.session.run({name: inputs[name] for name in self.manifest["inputs"]}, outputs)

    def _pooled(self, examples: Iterable[Example], output: str) -> Iterator[Pooled]:
        options = WindowOptions(max_length=self.max_length, stride=self.stride)
        for some in chunked(examples, CHUNK):
            table = TokenRows([record_batch(0, list(tokenise(some, self.tokenizer, options)))])
            group = GroupData((), some, table, "none")
            found: dict[int, np.ndarray] = {}
            for rows in by_length([group], self.batch_tokens):
                (vectors_BD,) = self._run(padded([group], rows).inputs, [output])
                found.update((number, vector_D) for (_, number), vector_D in zip(rows, vectors_BD, strict=True))
            yield Pooled(some, np.stack([found[k] for k in range(len(some))]), int(table.truncated.sum()))


def is_exported(directory: Path) -> bool:
    """Whether a directory was made by `braid export`."""
    return (directory / MANIFEST).is_file()


def _session(directory: Path, manifest: Mapping[str, Any], options: Mapping[str, Any]) -> Session:
    path = directory / FILES[manifest["to"]]
    if manifest["to"] == "torch":
        return TorchSession(path, manifest["inputs"], [*manifest["answers"], EMBEDDING])
    threads = options.get("threads") or usual_threads()
    return OnnxSession(path, device=str(options.get("device", "auto")), threads=threads)
