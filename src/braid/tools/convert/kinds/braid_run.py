"""A Braid run directory."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from braid.checkpoint.files import read_mapping, replace_directory
from braid.checkpoint.model_files import load_model, save_encoder, save_tasks
from braid.config.families import EncoderConfig
from braid.encoders.base import EncoderVariant
from braid.errors import BraidError
from braid.model.network import BraidModel
from braid.tools.convert.kind import Kind, Options, Source
from braid.tools.convert.model import Model, TaskHead
from braid.tools.convert.report import Report

LENGTH = 512
"""Longest row, where the encoder allows it, as in training."""


class BraidRun(Kind):
    """`encoder/` and `tasks/NAME/`."""

    name: ClassVar[str] = "braid"
    title: ClassVar[str] = "a Braid run directory"

    def recognises(self, source: Source) -> bool:
        return (source.path / "encoder" / "braid.json").is_file()

    def read(self, source: Source, options: Options, report: Report) -> Model:
        loaded = load_model(source.path)
        network = loaded.network
        heads = {
            name: TaskHead(network.specs[name], {key: tensor.clone() for key, tensor in head.state_dict().items()})
            for name, head in network.heads()
        }
        report.map(network.encoder.hf_state(), "encoder")
        for name, head in heads.items():
            report.map((f"tasks/{name}/{key}" for key in head.weights), name)
        config = _variant(source.path)
        return Model(network.encoder, config, heads, loaded.tokenizer, loaded.max_length, loaded.stride)

    def write(self, model: Model, path: Path, options: Options, report: Report) -> None:
        if model.tokenizer is None:
            raise BraidError("a run directory needs the model's vocabulary: give it with --vocab")
        limit = model.encoder.max_positions
        longest = model.max_length or (LENGTH if limit is None else min(LENGTH, limit))
        network = BraidModel(model.encoder, {name: head.spec for name, head in model.heads.items()})
        for name, module in network.heads():
            try:
                module.load_state_dict(model.heads[name].weights)
            except RuntimeError as error:
                raise BraidError(f"task {name}: the head does not fit: {error}") from error

        def fill(folder: Path) -> None:
            assert model.tokenizer is not None
            stride = longest // 4 if model.stride is None else model.stride
            sha256 = save_encoder(
                folder, model.encoder, model.config, model.tokenizer, max_length=longest, stride=stride
            )
            save_tasks(folder, network, sha256)

        replace_directory(path, fill)
        report.written.append(str(path))


def _variant(directory: Path) -> EncoderVariant:
    """The config of a run's encoder."""
    path = directory / "encoder" / "braid.json"
    options = {key: value for key, value in read_mapping(path).items() if key != "precision"}
    variant = EncoderConfig.lookup(str(options.get("type"))).model_validate(options)
    assert isinstance(variant, EncoderVariant)
    return variant
