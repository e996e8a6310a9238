"""The families of variants, with the fields that a recipe needs to know of each.

What a variant *does* is defined floors above (`braid.tasks.base.Task`, `braid.encoders.base.Encoder`,
...); here is only what can be written in a recipe.
"""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from braid.config.variant import Config, Variant


class SourceConfig(Variant):
    """Where rows come from: a file format, the hub, a Python function."""

    family: ClassVar[str] = "sources"
    package: ClassVar[str] = "braid.data.sources"
    shorthand: ClassVar[str | None] = "type"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that this source reads without being named."""
    type: str


class SamplerConfig(Variant):
    """How often the rows of each group are drawn in an epoch."""

    family: ClassVar[str] = "samplers"
    package: ClassVar[str] = "braid.data.samplers"
    default: ClassVar[str | None] = "proportional"
    shorthand: ClassVar[str | None] = "type"
    type: str


class BalancerConfig(Variant):
    """How the tasks' losses become one gradient."""

    family: ClassVar[str] = "balancers"
    package: ClassVar[str] = "braid.balancing"
    default: ClassVar[str | None] = "sum"
    shorthand: ClassVar[str | None] = "type"
    type: str


class EncoderConfig(Variant):
    """The encoder that all tasks share."""

    family: ClassVar[str] = "encoders"
    package: ClassVar[str] = "braid.encoders"
    default: ClassVar[str | None] = "bert"
    type: str

    pretrained: str | None = None
    """A local directory in transformers' layout, a Braid run directory, or a hub id. None: from scratch."""

    max_length: int | None = Field(default=None, ge=8)
    """Longest row in tokens, special tokens included. None: 512, or what the encoder's positions allow if less."""

    stride: int | None = Field(default=None, ge=0)
    """Tokens by which the windows of a long text overlap. None: a quarter of `max_length`."""

    vocab: str | None = None
    """Vocabulary for training from scratch: vocab.txt, tokenizer.json or a directory with a tokenizer.
    None: a WordPiece vocabulary is trained on the training texts."""

    vocab_size: int = Field(default=8000, ge=64)
    """Size of the vocabulary that is trained when there is neither `pretrained` nor `vocab`."""

    lowercase: bool = True
    """Whether a trained vocabulary folds case and accents (as BERT's uncased and Chinese ones do)."""


class DataConfig(Config):
    """The files of one task. A split is a path, `{hub: ...}`, `{python: module:function}`, any source with its
    options, a list of these, or `10%`: that share of the training rows, cut out of them by the recipe's seed."""

    train: list[SourceConfig] = Field(default_factory=list)
    """Rows to learn from."""

    dev: list[SourceConfig] = Field(default_factory=list)
    """Rows that choose the best step."""

    test: list[SourceConfig] = Field(default_factory=list)
    """Rows for the final figures."""

    source: str | dict[str, Any] | None = None
    """Source type or options for all splits: `conll`, `{header: false}`. None: by each file's suffix."""

    columns: dict[str, str | int] = Field(default_factory=dict)
    """Our names to the file's: `{text: sentence, label: 3}`. Without it the usual names are recognised."""

    @model_validator(mode="before")
    @classmethod
    def _splits(cls, value: Any) -> Any:
        """Turn every way to write a split into a list of source mappings."""
        if not isinstance(value, dict):
            return value
        shared = value.get("source")
        shared = {"type": shared} if isinstance(shared, str) else dict(shared or {})
        out = dict(value)
        for split in ("train", "dev", "test"):
            if split in value:
                given = value[split]
                items = given if isinstance(given, list | tuple) else [] if given is None else [given]
                out[split] = [_source(item, shared) for item in items]
        return out


def _source(item: Any, shared: dict[str, Any]) -> Any:
    """One source as a mapping with its `type`, which the suffix of its path tells where nothing names it."""
    if isinstance(item, str) and re.fullmatch(r"\d+(\.\d+)?\s*%", item.strip()):
        return {"type": "cut", "share": float(item.strip().rstrip("%")) / 100}
    if isinstance(item, str):
        item = {"path": item}
    if not isinstance(item, dict):
        return item
    for key in ("hub", "python"):
        if key in item and "type" not in item:
            return {"type": key, **item}
    merged = {**shared, **item}
    if "type" not in merged and isinstance(merged.get("path"), str):
        merged["type"] = source_type(merged["path"])
    return merged


def source_type(path: str) -> str:
    """The source that reads a file, by its suffix (`.gz` aside). An unknown suffix is an error that lists the known ones."""
    known = {suffix: name for name, variant in SourceConfig.variants().items() for suffix in variant.suffixes}
    if os.path.isdir(path):
        return "hub"
    name = os.path.basename(path).removesuffix(".gz")
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in known:
        raise ValueError(
            f"cannot tell the format of {path!r} by its suffix; add `source: TYPE` "
            f"(one of {', '.join(SourceConfig.variants())}). Known suffixes: {', '.join(sorted(known))}"
        )
    return known[suffix]


class TaskConfig(Variant):
    """One task: its type, its data and the options of its head. What a type does: `braid.tasks.base.Task`."""

    family: ClassVar[str] = "tasks"
    package: ClassVar[str] = "braid.tasks"
    type: str

    data: DataConfig = Field(default_factory=DataConfig)
    """Where its rows are."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout in front of the head."""

    lr: float | None = Field(default=None, gt=0)
    """Learning rate of this task's head. None: `train.head_lr`, else `train.lr`."""

    freeze: bool = False
    """Keep this task's head as it is."""

    metric: str | None = None
    """The metric that "best" means for this task. None: the type's first metric."""

    @field_validator("data", mode="before")
    @classmethod
    def _only_train(cls, value: Any) -> Any:
        return {"train": value} if isinstance(value, str | list) else value
