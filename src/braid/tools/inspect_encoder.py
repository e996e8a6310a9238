"""Which of our encoders reads a directory of transformers' layout."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from braid.checkpoint.files import read_mapping
from braid.config.families import EncoderConfig
from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.packed import PackedVariant
from braid.encoders.weights import read_config
from braid.errors import BraidError

ANY = "hf"
"""The encoder for models that have no type of their own."""


def load_encoder(folder: Path) -> tuple[str, Encoder]:
    """The type that recipes name for a directory, and its encoder. Raises BraidError where none reads it."""
    if (folder / "braid.json").is_file():
        options = read_mapping(folder / "braid.json")
        options.pop("precision", None)
        try:
            variant = EncoderConfig.lookup(str(options.get("type"))).model_validate(options)
        except ValidationError as error:
            raise BraidError(f"{folder / 'braid.json'}: {error}") from error
        assert isinstance(variant, EncoderVariant)
        return variant.type, variant.load(folder)
    config = read_config(folder)
    for kind, found in EncoderConfig.variants().items():
        if not issubclass(found, PackedVariant):
            continue
        variant = found.model_validate({"type": kind})
        try:
            variant.layout(config, str(folder / "config.json"))
        except BraidError:
            continue
        return kind, variant.load(folder)
    variant = EncoderConfig.lookup(ANY).model_validate({"type": ANY})
    assert isinstance(variant, EncoderVariant)
    return ANY, variant.load(folder)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of a directory: safetensors, whole or in shards, else PyTorch's own.

    Raises BraidError for a directory without any, and for shards that are missing."""
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            try:
                names = sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise BraidError(f"{folder / index} is not an index of shards: {error}") from error
            missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
            if missing:
                raise BraidError(f"{folder / index} names shards that are not beside it: {', '.join(missing)}")
            return [folder / name for name in names]
    raise BraidError(f"{folder} holds no model.safetensors")
