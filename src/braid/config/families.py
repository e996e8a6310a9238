"""The families of variants, with the fields that a recipe needs to know of each.

What a variant *does* is defined floors above (`braid.tasks.base.Task`, `braid.encoders.base.Encoder`,
...); here is only what can be written in a recipe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from braid.config.variant import Config, Variant

SPLITS = ("train", "dev", "test")


class SourceConfig(Variant):
    """Where rows come from: a file format, the hub, a Python function."""

    family: ClassVar[str] = "sources"
    package: ClassVar[str] = "braid.data.sources"
    shorthand: ClassVar[str | None] = "type"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that this source reads without being named."""
    reads_folder: ClassVar[bool] = False
    """Whether its `path` is a folder."""
    type: str

    columns: dict[str, str | int] = Field(default_factory=dict)
    """Our names to those of this source alone, where several are listed; they go before `data.columns`."""

    @classmethod
    def expand(cls, value: Any, *, named: bool = True) -> Any:
        """`10%` as a cut, a path as a mapping, `{hub: ...}` and `{python: ...}` with their `type`; *named*: a path's
        type by its suffix. Raises ValueError for a suffix that tells nothing."""
        if isinstance(value, str):
            share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip(), re.ASCII)
            value = {"type": "cut", "share": float(share[1]) / 100} if share else {"path": value}
        if not isinstance(value, dict) or "type" in value:
            return value
        for key in ("hub", "python"):
            if key in value:
                return {"type": key, **value}
        if named and isinstance(value.get("path"), str):
            return {"type": source_type(value["path"]), **value}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A path, a source with its `type`, or one whose path or key tells it."""
        described = super().__get_pydantic_json_schema__(schema, handler)
        if "family" not in cls.__dict__:
            return described
        untyped: list[JsonSchemaValue] = [
            {"type": "object", "required": [key], "not": {"required": ["type"]}} for key in ("path", "hub", "python")
        ]
        return {"anyOf": [{"type": "string"}, described["anyOf"][1], *untyped], "description": described["description"]}

    @classmethod
    def choose(cls, value: Any) -> Self:
        """The source that a value is, or describes."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"expected a path or a mapping, found {value}; a share of the training rows is `10%`")
        if isinstance(value, dict) and "type" not in value and not {"path", "hub", "python"} & set(value):
            raise ValueError("a source needs `path`, `hub` or `python`")
        return super().choose(value)


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


class RegulariserConfig(Variant):
    """What is added to training so that the model fits the training rows less closely and others better."""

    family: ClassVar[str] = "regularisers"
    package: ClassVar[str] = "braid.training.regularisers"
    shorthand: ClassVar[str | None] = "type"
    compares: ClassVar[bool] = False
    """Whether it compares two answers to one row, so that every task must be `comparable`."""
    needs_pretrained: ClassVar[bool] = False
    """Whether it makes no sense for an encoder from scratch."""
    graphs: ClassVar[int] = 0
    """Forward passes of the whole model that it keeps for the backward pass, beside the plain one."""
    type: str


class EncoderConfig(Variant):
    """The encoder that all tasks share."""

    family: ClassVar[str] = "encoders"
    package: ClassVar[str] = "braid.encoders"
    default: ClassVar[str | None] = "bert"
    type: str

    pretrained: str | None = None
    """A local directory in transformers' layout, a Braid run directory, or a hub id. None: from scratch."""

    keep_layers: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    """Start from these layers of `pretrained` alone, counted from 1, as a small student of a large teacher does:
    `[2, 4, 6]` of six. None: from all."""

    max_length: int | None = Field(default=None, ge=8)
    """Longest row in tokens, special tokens included. None: 512, or what the encoder's positions allow if less."""

    stride: int | None = Field(default=None, ge=0)
    """Tokens by which the windows of a long text overlap. None: a quarter of `max_length`."""

    vocab: str | None = None
    """Vocabulary for training from scratch: vocab.txt, tokenizer.json, a SentencePiece .model, GPT-2's vocab.json with
    merges.txt beside it, or a directory with a tokenizer. None: one is trained on the training texts."""

    vocab_type: Literal["wordpiece", "bpe", "unigram", "character", "word"] = "wordpiece"
    """What a trained vocabulary holds: pieces of words (BERT), byte pairs (GPT-2), SentencePiece's unigrams,
    characters, or words between spaces. It also says what the lines of a vocab.txt are: pieces, characters or words."""

    vocab_size: int = Field(default=8000, ge=64)
    """Most tokens of the vocabulary that is trained when there is neither `pretrained` nor `vocab`."""

    lowercase: bool | None = None
    """Whether a trained vocabulary, or a vocab.txt, folds case (and accents, of word pieces, as BERT's uncased and
    Chinese ones do). None: yes, but a trained `bpe` keeps every string as it is."""

    @field_validator("keep_layers")
    @classmethod
    def _in_order(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and value != sorted(set(value)):
            raise ValueError("name each layer once, from the lowest up")
        return value


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
    """Source type or options for all splits: `conll`, `{header: false}`. None: by each file's suffix.
    It is merged into the splits when data is read, and then None."""

    columns: dict[str, str | int] = Field(default_factory=dict)
    """Our names to the file's: `{text: sentence, label: 3}`. Without it the usual names are recognised."""

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return cls.expand(value)

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Every way to write data as one: a bare path is the training data, each split is a list of mappings, and
        `source` is merged into those that have a path."""
        if isinstance(value, str | list | tuple):
            value = {"train": value}
        if not isinstance(value, dict) or isinstance(value.get("source"), bool | int | float | list):
            return value
        shared = value.get("source") or {}
        shared = {"type": shared} if isinstance(shared, str) else shared
        out = {key: item for key, item in value.items() if key != "source"}
        for split in SPLITS:
            if split in value:
                given = value[split]
                items = given if isinstance(given, list | tuple) else [] if given is None else [given]
                out[split] = [_merged(SourceConfig.expand(item, named=False), shared) for item in items]
        return out

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Editors must accept every way to write a split, which validation writes out before it looks."""
        reference = handler(schema)
        properties = handler.resolve_ref_schema(reference)["properties"]
        for split in SPLITS:
            many = properties[split]
            source = many.pop("items", True)
            rest = {key: many.pop(key) for key in ("type", "default") if key in many}
            many["anyOf"] = [source, {"type": "array", "items": source}, {"type": "null"}]
            many["default"] = rest.get("default", [])
        source = properties[SPLITS[0]]["anyOf"][0]
        paths: JsonSchemaValue = {"type": "array", "items": source}
        return {"anyOf": [{"type": "string"}, paths, reference]}

    def splits(self) -> Iterator[tuple[str, int, SourceConfig]]:
        """Every source with its split and its place in it."""
        for split in SPLITS:
            for place, source in enumerate(getattr(self, split)):
                yield split, place, source


def _merged(item: Any, shared: dict[str, Any]) -> Any:
    """A source with the options that all splits share. They speak of files, so a cut or a data set gets none."""
    return {**shared, **item} if isinstance(item, dict) and "path" in item else item


def source_type(path: str) -> str:
    """The source that reads a file, by its suffix (`.gz` aside). Raises ValueError with the suffixes that are known."""
    known = {suffix: name for name, variant in SourceConfig.variants().items() for suffix in variant.suffixes}
    if os.path.isdir(path):
        return "hub"
    name = os.path.basename(path).removesuffix(".gz")
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in known:
        raise ValueError(
            f"cannot tell the format of {path!r} by its suffix (known: {' '.join(sorted(known))}); "
            f"say it with `source:` {', '.join(SourceConfig.variants())}"
        )
    return known[suffix]


class TaskConfig(Variant):
    """One task: its type, its data and the options of its head. What a type does: `braid.tasks.base.Task`."""

    family: ClassVar[str] = "tasks"
    package: ClassVar[str] = "braid.tasks"
    comparable: ClassVar[bool] = False
    """Whether its heads say how far two of their answers are from each other, which some regularisers need."""
    needs_data: ClassVar[bool] = True
    """Whether it must have `data.train`; False: it may read what a task that `&` joins it to reads."""
    type: str

    data: DataConfig = Field(default_factory=DataConfig)
    """Where its rows are."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout in front of the head."""

    mix_layers: bool = False
    """Let the head read a learned mixture of all the encoder's layers (ScalarMix, as ELMo's) instead of the last."""

    lr: float | None = Field(default=None, gt=0)
    """Learning rate of this task's head. None: `train.head_lr`, else `train.lr`."""

    freeze: bool = False
    """Keep this task's head as it is."""

    metric: str | None = None
    """The metric that "best" means for this task. None: the type's first metric."""
