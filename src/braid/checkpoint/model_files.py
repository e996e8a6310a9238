"""`encoder/` and `tasks/NAME/` of a run directory: written by training, read by everything else.

Only safetensors and JSON; nothing that is read can run code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from braid.checkpoint.files import load_tensors, read_mapping, replace_directory, save_tensors, write_json
from braid.config.families import EncoderConfig, TaskConfig
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import load_tokenizer
from braid.data.windows import UnitKind
from braid.encoders.base import Encoder, EncoderVariant
from braid.errors import BraidError, RunDirectoryError, did_you_mean
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.base import Head, Task

PrecisionOption = Literal["auto", "fp32", "bf16"]
NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class LoadedModel:
    """A model with what is needed to feed it: *max_length* and *stride* of its rows, and the *precision* that its
    recipe asked for."""

    network: BraidModel
    tokenizer: Tokenizer
    max_length: int
    stride: int
    encoder_sha256: str
    precision: PrecisionOption = "auto"


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_encoder(
    directory: Path,
    encoder: Encoder,
    config: EncoderConfig,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
    precision: PrecisionOption = "auto",
) -> str:
    """Write `encoder/` in transformers' layout and return its sha256. braid.json adds how Braid feeds it."""

    def fill(folder: Path) -> None:
        save_tensors(folder / "model.safetensors", encoder.hf_state())
        write_json(folder / "config.json", encoder.hf_config())
        options = config.model_dump(mode="json", exclude={"pretrained", "vocab"})
        write_json(
            folder / "braid.json", {**options, "max_length": max_length, "stride": stride, "precision": precision}
        )
        tokenizer.save(folder)

    replace_directory(directory / "encoder", fill)
    return file_sha256(directory / "encoder" / "model.safetensors")


def save_tasks(directory: Path, network: BraidModel, encoder_sha256: str) -> None:
    """Write `tasks/NAME/` of every task."""
    for name, head in network.heads():
        spec = network.specs[name]

        def fill(folder: Path, spec: TaskSpec = spec, state: Mapping[str, Any] = head.state_dict()) -> None:
            options = spec.task.model_dump(mode="json", exclude={"data", "type"})
            content = {
                "type": spec.task.type,
                "options": options,
                "facts": spec.facts,
                "encoder_sha256": encoder_sha256,
            }
            write_json(folder / "task.json", content)
            save_tensors(folder / "head.safetensors", state)

        replace_directory(directory / "tasks" / name, fill)


def load_model(directory: Path, *, tasks: list[str] | None = None, force: bool = False) -> LoadedModel:
    """The model in a run directory; *tasks*: only these heads.

    Raises RunDirectoryError saying what is missing, damaged, or does not fit together; a head that was trained on
    another encoder is refused unless *force*."""
    if not directory.is_dir():
        raise RunDirectoryError(f"there is no run directory {directory.resolve()}")
    folder = directory / "encoder"
    if not folder.is_dir():
        state = (
            " It holds an unfinished run: go on with `braid train RECIPE --resume`."
            if (directory / "state").is_dir()
            else ""
        )
        raise RunDirectoryError(f"{directory} is no run directory: it has no encoder/.{state}")
    options = read_mapping(folder / "braid.json")
    max_length, stride = options.get("max_length"), options.get("stride")
    if not isinstance(max_length, int) or not isinstance(stride, int):
        raise RunDirectoryError(f"{folder / 'braid.json'} lacks max_length or stride")
    precision = options.pop("precision", "auto")
    if precision not in ("auto", "fp32", "bf16"):
        raise RunDirectoryError(f"{folder / 'braid.json'}: precision is {precision!r}, not auto, fp32 or bf16")
    variant = _variant(EncoderConfig, options, folder / "braid.json")
    assert isinstance(variant, EncoderVariant)
    encoder = variant.load(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > encoder.vocab_size:
        raise RunDirectoryError(
            f"{folder}: the tokenizer has ids up to {tokenizer.vocab_size - 1:,}, the encoder only "
            f"{encoder.vocab_size:,} embeddings: they do not belong together"
        )
    if encoder.max_positions is not None and max_length > encoder.max_positions:
        raise RunDirectoryError(
            f"{folder / 'braid.json'}: max_length {max_length:,} is more than the encoder's {encoder.max_positions:,} "
            "positions"
        )
    sha256 = file_sha256(folder / "model.safetensors")
    network = BraidModel(encoder, load_specs(directory, encoder.hidden_size, sha256, tasks=tasks, force=force))
    load_heads(directory, network)
    return LoadedModel(network, tokenizer, max_length, stride, sha256, precision)


def load_specs(
    directory: Path, hidden_size: int, encoder_sha256: str, *, tasks: list[str] | None = None, force: bool = False
) -> dict[str, TaskSpec]:
    """The tasks in `tasks/` of a directory (*tasks*: only these), for an encoder of this size and sha256.

    Raises RunDirectoryError as `load_model` does."""
    specs = {}
    for name in _task_names(directory, tasks):
        path = directory / "tasks" / name
        content = read_mapping(path / "task.json")
        _check_hash(name, path, content, encoder_sha256, force=force)
        options, facts = content.get("options", {}), content.get("facts", {})
        if not isinstance(options, dict) or not isinstance(facts, dict):
            raise RunDirectoryError(f"{path / 'task.json'}: options and facts must be mappings")
        task = _variant(TaskConfig, {"type": content.get("type"), **options}, path / "task.json")
        assert isinstance(task, Task)
        specs[name] = TaskSpec(task, facts)
        _check_facts(specs[name], hidden_size, path / "task.json")
    return specs


def load_heads(directory: Path, network: BraidModel) -> None:
    """Give the heads of a network their weights. Raises RunDirectoryError for a head that does not fit."""
    for name, head in network.heads():
        load_head(directory / "tasks" / name, head)
    network.eval()


def load_head(folder: Path, head: Head) -> None:
    """Give a head its weights, from its task's folder. Raises RunDirectoryError for one that does not fit."""
    try:
        head.load_state_dict(load_tensors(folder / "head.safetensors"))
    except RuntimeError as error:
        raise RunDirectoryError(f"{folder}: the head does not fit: {error}") from error


def carry_heads(directory: Path, network: BraidModel) -> dict[str, str | None]:
    """Let the heads of a fresh model start from those of a run, where name, type and what they learned of their data
    are the same. Task -> None, or why it did not; tasks that the run does not have are left out."""
    out: dict[str, str | None] = {}
    for name, head in network.heads():
        path, spec = directory / "tasks" / name, network.specs[name]
        if not (path / "task.json").is_file():
            continue
        content = read_mapping(path / "task.json")
        facts = json.loads(json.dumps(spec.facts))
        if content.get("type") != spec.task.type:
            out[name] = f"it is a {content.get('type')} task there"
        elif content.get("facts") != facts:
            out[name] = "its labels are others there"
        else:
            try:
                head.load_state_dict(load_tensors(path / "head.safetensors"))
                out[name] = None
            except RuntimeError:
                out[name] = "its head has another shape there"
    return out


def task_names(directory: Path) -> list[str]:
    """The tasks of a run directory, in the order of its recipe as far as that is known, then by name."""
    folder = directory / "tasks"
    found = (
        sorted(path.name for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))
        if (folder.is_dir())
        else []
    )
    return [name for name in found if not name.startswith(".")]


def _task_names(directory: Path, wanted: list[str] | None) -> list[str]:
    found = task_names(directory)
    if wanted is None:
        return found
    for name in wanted:
        if name not in found:
            raise RunDirectoryError(f"{directory} has no task {name!r}: {did_you_mean(name, found)}")
    return list(dict.fromkeys(wanted))


def _check_hash(name: str, path: Path, content: Mapping[str, Any], sha256: str, *, force: bool) -> None:
    if content.get("encoder_sha256") != sha256 and not force:
        raise RunDirectoryError(
            f"{path}: task {name!r} was trained on another encoder (sha256 "
            f"{str(content.get('encoder_sha256'))[:12]}..., "
            f"here is {sha256[:12]}...). Its predictions would be noise. Use --force to load it all the same."
        )


def _check_facts(spec: TaskSpec, hidden_size: int, where: Path) -> None:
    """Whether a head can be made of what a file says of its labels."""
    labels = spec.facts.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise RunDirectoryError(f"{where}: labels must be a list of strings")
    try:
        spec.task.make_head(spec.facts, hidden_size)
        spec.task.meter(spec.facts)
        _, units = spec.task.reads(spec.facts)
        if units not in get_args(UnitKind):
            raise ValueError(f"units {units!r}, not {' or '.join(get_args(UnitKind))}")
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
        raise RunDirectoryError(
            f"{where}: what it says of its labels does not fit a {spec.task.type} task: {type(error).__name__}: {error}"
        ) from error


def _variant(family: type[Any], options: dict[str, Any], where: Path) -> Any:
    from pydantic import ValidationError

    kind = options.get("type")
    try:
        return family.lookup(str(kind)).model_validate(options)
    except BraidError as error:
        raise RunDirectoryError(f"{where}: {error}. Is it a plugin's? Import the plugin first.") from error
    except ValidationError as error:
        raise RunDirectoryError(f"{where}: {error}") from error
