"""A directory of transformers: config.json, weights, tokenizer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save_file
from torch import Tensor

from braid.checkpoint.files import replace_directory, save_tensors, write_json
from braid.data.vocabularies import load_tokenizer
from braid.encoders.own import OwnEncoder
from braid.encoders.packed_module import PackedEncoder
from braid.encoders.weights import Checkpoint, read_config
from braid.errors import BraidError
from braid.tools.convert.hf_reading import NO_HEAD, read_heads
from braid.tools.convert.hf_writing import described
from braid.tools.convert.kind import Kind, Options, Source, vocabulary
from braid.tools.convert.model import Model, variant_of
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import load, tensors_of

COMPUTED = "computed anew, no weight"
_BUFFERS = ("position_ids", "token_type_ids", "attn.bias", "attn.masked_bias")


class TransformersDirectory(Kind):
    """`from_pretrained` reads it; so does a recipe as `encoder.pretrained`."""

    name: ClassVar[str] = "transformers"
    title: ClassVar[str] = "a directory of transformers"

    def recognises(self, source: Source) -> bool:
        path = source.path / "config.json"
        if not path.is_file():
            return False
        try:
            return "model_type" in json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError):
            return True

    def read(self, source: Source, options: Options, report: Report) -> Model:
        config = read_config(source.path)
        variant = variant_of(config, str(source.path / "config.json"))
        with tempfile.TemporaryDirectory() as scratch:
            directory = _safe(source.path, Path(scratch), config)
            encoder = variant.load(directory)
            checkpoint = Checkpoint(directory)
            tensors = checkpoint.read(list(checkpoint.shapes))
        if isinstance(encoder, OwnEncoder):
            variant = encoder.variant
        theirs = _encoder_names(encoder, tensors)
        report.map(theirs, "encoder")
        rest = {name: tensor for name, tensor in tensors.items() if name not in theirs}
        buffers = [name for name in rest if name.endswith(_BUFFERS)]
        report.leave(buffers, COMPUTED)
        heads = read_heads(config, rest, encoder, options, report)
        told = report.mapped.keys() | report.unmapped.keys()
        report.leave((name for name in rest if name not in told), NO_HEAD)
        if any(tensor.dtype.itemsize < 4 and tensor.is_floating_point() for tensor in tensors.values()):
            report.notes.append("weights in half precision are written in single precision, value for value")
        return Model(encoder, variant, heads, self._tokenizer(source.path, encoder.vocab_size, options, report))

    def _tokenizer(self, directory: Path, rows: int, options: Options, report: Report) -> Any:
        if options.vocab is not None:
            return vocabulary(options, None, rows, report)
        names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")
        if not any((directory / name).is_file() for name in names) and not list(directory.glob("*.model")):
            return vocabulary(options, None, rows, report)
        tokenizer = load_tokenizer(directory)
        if tokenizer.vocab_size > rows:
            raise BraidError(
                f"{directory}: the tokenizer has ids up to {tokenizer.vocab_size - 1:,}, the model only {rows:,} word "
                "embeddings: they do not belong together"
            )
        return tokenizer

    def write(self, model: Model, path: Path, options: Options, report: Report) -> None:
        config, tensors = described(model, report)

        def fill(folder: Path) -> None:
            save_tensors(folder / "model.safetensors", tensors)
            write_json(folder / "config.json", config)
            if model.tokenizer is not None:
                model.tokenizer.save(folder)

        replace_directory(path, fill)
        report.written.append(str(path))


def _safe(directory: Path, scratch: Path, config: Mapping[str, Any]) -> Path:
    """The directory itself, or, where its weights are in a file of torch, one with the same in safetensors."""
    if (directory / "model.safetensors").is_file() or (directory / "model.safetensors.index.json").is_file():
        return directory
    pickled = directory / "pytorch_model.bin"
    if not pickled.is_file():
        return directory
    tensors = tensors_of(load(pickled))
    if tensors is None:
        raise BraidError(f"{pickled} holds no state dict")
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, scratch / "model.safetensors")
    write_json(scratch / "config.json", config)
    return scratch


def _encoder_names(encoder: Any, tensors: Mapping[str, Tensor]) -> set[str]:
    """The tensors of a file that are the encoder's, its pooler included."""
    wanted = set(encoder.hf_state())
    if isinstance(encoder, PackedEncoder):
        found = encoder.layout.found(tensors)
        return {name for today, name in found.items() if today in wanted}
    return wanted & set(tensors)
