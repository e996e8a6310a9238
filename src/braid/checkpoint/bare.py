"""Models in transformers' own layout, without anything of ours beside them: BERT's, MiniLM's, a run's `encoder/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braid.checkpoint.files import read_mapping
from braid.checkpoint.model_files import LoadedModel, file_sha256, load_model
from braid.config.families import EncoderConfig
from braid.data.vocabularies import load_tokenizer
from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.packed import PackedVariant
from braid.encoders.pretrained import locate
from braid.encoders.weights import Checkpoint, read_config
from braid.errors import BraidError, LabelError, RunDirectoryError
from braid.model.corpora import text_facts
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.mlm import Mlm

DEFAULT_MAX_LENGTH = 512
"""Tokens of a row where nothing says how long they may be."""

IN_PACKAGE = "package:"


def load_any(directory: Path, *, tasks: list[str] | None = None, force: bool = False) -> LoadedModel:
    """The model in a run directory, or in one of transformers' layout; `package:NAME/sub/dir` is one inside an
    installed Python package.

    Raises BraidError saying what is missing, damaged, or does not fit."""
    directory = directory_of(directory)
    if is_run(directory) or not (directory / "config.json").is_file():
        return load_model(directory, tasks=tasks, force=force)
    loaded = load_bare(directory)
    if tasks is not None and (missing := [name for name in tasks if name not in loaded.network.specs]):
        raise RunDirectoryError(f"{directory} is a bare encoder: it has no task {missing[0]!r}")
    return loaded


def directory_of(given: Path) -> Path:
    """The directory that a path or `package:NAME/sub/dir` means. Raises BraidError for a package that is not there."""
    return locate(str(given)) if str(given).startswith(IN_PACKAGE) else given


def is_run(directory: Path) -> bool:
    """Whether a directory is laid out as a run: with `encoder/` inside."""
    return (directory / "encoder").is_dir()


def load_bare(directory: Path) -> LoadedModel:
    """An encoder with its tokenizer. Its one task is `mlm`, where the weights hold such a head.

    Raises BraidError for what is no encoder, or one whose tokenizer is of another."""
    variant, options = variant_of(directory)
    encoder = variant.load(directory)
    tokenizer = load_tokenizer(directory)
    if tokenizer.vocab_size > encoder.vocab_size:
        raise RunDirectoryError(
            f"{directory}: the tokenizer has ids up to {tokenizer.vocab_size - 1:,}, the encoder only "
            f"{encoder.vocab_size:,} embeddings: they do not belong together"
        )
    limit = encoder.max_positions or DEFAULT_MAX_LENGTH
    given = options.get("max_length")
    max_length = min(given if isinstance(given, int) else DEFAULT_MAX_LENGTH, limit)
    specs = {}
    if {"mlm.dense.weight", "mlm.bias"} <= set(encoder.pretraining):
        try:
            specs["mlm"] = TaskSpec(Mlm(type="mlm"), Mlm(type="mlm").learn_text(text_facts(tokenizer, encoder)))
        except LabelError:  # a vocabulary without a mask
            specs = {}
    network = BraidModel(encoder, specs).eval()
    return LoadedModel(network, tokenizer, max_length, max_length // 4, _sha256(directory))


def variant_of(directory: Path) -> tuple[EncoderVariant, Mapping[str, Any]]:
    """The encoder config that reads a directory's weights, and what braid.json says where there is one. Raises
    BraidError."""
    options = read_mapping(directory / "braid.json") if (directory / "braid.json").is_file() else {}
    config = read_config(directory)
    kind = options.get("type") or _kind_of(config, directory)
    chosen = EncoderConfig.lookup(str(kind)).model_validate({"type": kind})
    assert isinstance(chosen, EncoderVariant)
    return chosen, options


def _kind_of(config: Mapping[str, Any], directory: Path) -> str:
    """The encoder type that computes what a config.json describes: ours where there is one, else `hf`."""
    model_type = str(config.get("model_type"))
    for name, variant in EncoderConfig.variants().items():
        if model_type == f"braid-{name}":
            return name
        if issubclass(variant, PackedVariant) and _reads(variant, config, directory):
            return name
    return "hf"


def _reads(variant: type[PackedVariant], config: Mapping[str, Any], directory: Path) -> bool:
    try:
        variant.model_validate({"type": variant.model_fields["type"].default}).layout(config, str(directory))
    except BraidError:
        return False
    return True


def _sha256(directory: Path) -> str:
    """Of the weights; of shards, that of their index."""
    single = directory / "model.safetensors"
    return file_sha256(single if single.is_file() else next(iter(Checkpoint(directory).files.values())))


def encoder_directory(given: Path) -> Path:
    """Where config.json, weights and tokenizer of a run or of a bare encoder are. Raises RunDirectoryError."""
    directory = directory_of(given)
    for candidate in (directory / "encoder", directory):
        if (candidate / "config.json").is_file():
            return candidate
    what = "holds no config.json, nor encoder/config.json" if directory.is_dir() else "is not there"
    raise RunDirectoryError(f"{directory.resolve()} {what}: a run directory or an encoder of transformers is needed")


def word_table_name(encoder: Encoder) -> str:
    """transformers' name of the tensor that holds the tokens' vectors."""
    table = encoder.word_embeddings
    return next(
        name
        for name, tensor in encoder.hf_state().items()
        if tensor.shape == table.shape and tensor.data_ptr() == table.data_ptr()
    )
