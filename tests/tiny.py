"""Tiny models and data for tests: built by the same code as real ones, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from braid.config.families import EncoderConfig, SourceConfig, TaskConfig
from braid.data.batch import Batch
from braid.data.corpus.prepare import prepare_corpus
from braid.data.corpus.rows import CorpusRows, RowOptions
from braid.data.corpus.shards import Corpus
from braid.data.example import Example
from braid.data.groups import GroupData, Maker, build_targets
from braid.data.prepare import prepare
from braid.data.sources.base import Source
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import train_wordpiece
from braid.data.windows import WindowOptions, common_layout
from braid.encoders.base import Encoder, EncoderVariant
from braid.model.corpora import text_facts
from braid.model.inference import answers
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.base import LabelledTask, Task
from braid.tasks.text import TextTask
from braid.training.loss import count
from braid.training.loss import loss_scales as scales_of

ENCODER: dict[str, Any] = {
    "type": "bert",
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "intermediate_size": 64,
    "dropout": 0.0,
}


def example_of(row: Mapping[str, Any], task: str) -> Example:
    """A native row of one task as an example."""
    words = tuple(row["words"]) if row.get("words") is not None else None
    text = row.get("text") or " ".join(words or ())
    labels = {} if row.get("label") is None else {task: row["label"]}
    options = tuple(row["options"]) if row.get("options") is not None else None
    return Example(text, row.get("pair"), words, labels, query=row.get("query"), options=options)


def task_of(kind: str, **options: Any) -> Any:
    """A task's config."""
    task = TaskConfig.lookup(kind).model_validate({"type": kind, "dropout": 0.0, **options})
    assert isinstance(task, Task)
    return task


def specimens(kind: str, n: int = 8) -> list[dict[str, Any]]:
    """Rows that the type itself offers for tests."""
    variant = TaskConfig.lookup(kind)
    assert issubclass(variant, LabelledTask)
    return variant.specimens(n)


def tokenizer_of(examples: Sequence[Example]) -> Tokenizer:
    """A vocabulary of these examples' texts."""
    texts = [text for example in examples for text in (example.text, example.pair, *(example.options or ())) if text]
    return train_wordpiece(texts, size=300, lowercase=True)


def encoder_of(tokenizer: Tokenizer, **options: Any) -> Encoder:
    """A tiny encoder for a tokenizer."""
    config = {**ENCODER, **options}
    variant = EncoderConfig.lookup(config["type"]).model_validate(config)
    assert isinstance(variant, EncoderVariant)
    return variant.build(vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id)


def group_of(
    tasks: Mapping[str, TaskSpec], examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int = 48
) -> GroupData:
    """Examples as a group with targets."""
    layout, units = common_layout({name: spec.task.reads(spec.facts) for name, spec in tasks.items()})
    options = WindowOptions(max_length=max_length, stride=max_length // 4, units=units, layout=layout)
    rows = prepare(examples, tokenizer, options, cache=None, workers=1)
    targets = {}
    for name, spec in tasks.items():

        def encode(label: Any, example: Example, window: Any, spec: TaskSpec = spec) -> Any:
            return spec.task.encode(label, example, window, spec.facts)

        targets[name] = build_targets(examples, rows, options.units, task=name, encode=encode, count=spec.task.count)
    return GroupData(tuple(tasks), examples, rows, options.units, targets)


def specs_of(tasks: Mapping[str, Task], examples: Mapping[str, Sequence[Example]]) -> dict[str, TaskSpec]:
    """Tasks with what they learn from their examples."""
    out = {}
    for name, task in tasks.items():
        rows = [example for example in examples[name] if example.labels.get(name) is not None]
        out[name] = TaskSpec(task, task.learn([example.labels[name] for example in rows], rows))
    return out


SEES = {"clm": "gpt", "bilm": "bilstm"}
"""An encoder for each type that cannot learn from BERT."""


@dataclass(frozen=True)
class EncoderMaker:
    """Makes fresh encoders of one config."""

    config: EncoderVariant
    tokenizer: Tokenizer

    def __call__(self) -> Encoder:
        return self.config.build(vocab_size=self.tokenizer.vocab_size, pad_id=self.tokenizer.pad_id)


def text_group(kind: str, name: str, folder: Path) -> tuple[GroupData, Tokenizer, dict[str, TaskSpec], EncoderMaker]:
    """A tiny corpus as the rows of one task that makes its own targets, and an encoder that can learn it."""
    things = ("apples", "books", "cups", "dogs")
    texts = [
        " ".join(f"{who} saw {k} {things[(k + n) % 4]}." for n, who in enumerate(("anna", "bo", "carl")))
        for k in range(9)
    ]
    tokenizer = train_wordpiece(texts, size=200, lowercase=True)
    (folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    source = SourceConfig.choose({"path": str(folder / "corpus.txt")})
    assert isinstance(source, Source)
    prepare_corpus([source], {}, tokenizer, folder / "shards", workers=1)
    task = TaskConfig.lookup(kind).model_validate({"type": kind, "dropout": 0.0})
    assert isinstance(task, TextTask)
    options = {key: value for key, value in ENCODER.items() if key in ("hidden_size", "layers", "dropout")}
    other = SEES.get(kind)
    options |= {"hidden_size": 64, "layers": 1} if kind == "bilm" else {}
    config = EncoderConfig.choose(ENCODER if other is None else {"type": other, **options})
    assert isinstance(config, EncoderVariant)
    make = EncoderMaker(config, tokenizer)
    text = text_facts(tokenizer, make())
    rows = CorpusRows(
        Corpus.open([folder / "shards"], tokenizer_sha256=tokenizer.sha256),
        tokenizer.template,
        RowOptions(max_length=32, pairing=task.pairing),
        seed=1,
    )
    group = GroupData((name,), [], rows, "none", makers={name: Maker(task.change(text), task.count)})
    return group, tokenizer, {name: TaskSpec(task, task.learn_text(text))}, make


def model_of(tokenizer: Tokenizer, specs: Mapping[str, TaskSpec], **encoder: Any) -> BraidModel:
    """A tiny model."""
    return BraidModel(encoder_of(tokenizer, **encoder), specs)


def task_losses(model: BraidModel, batch: Batch, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each task's summed loss, from logits that may have been changed."""
    return {name: model.head(name).loss(values.float(), batch.targets[name]) for name, values in logits.items()}


def loss_scales(batches: Sequence[Batch], weights: Mapping[str, float], normalise: Any) -> dict[str, float]:
    """What training multiplies the summed losses of one global batch by."""
    return scales_of(count(batches, list(weights)), weights, normalise)


def infer(model: BraidModel, groups: Sequence[GroupData], **options: Any) -> dict[tuple[int, str], list[Any]]:
    """Predictions of every group's tasks: (group, task) -> one for each example of the group."""
    return {
        key: list(model.head(key[1]).decode(found.values, found.examples, found.units))
        for key, found in answers(model, groups, **options).items()
    }
