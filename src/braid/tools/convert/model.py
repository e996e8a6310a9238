"""What every kind of file is read into and written from: Braid's own encoder, heads and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from braid.config.families import EncoderConfig, TaskConfig
from braid.data.tokens import Tokenizer
from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.bert_layouts import LAYOUTS
from braid.encoders.own import OwnVariant
from braid.encoders.packed import PackedVariant
from braid.errors import BraidError
from braid.model.network import TaskSpec
from braid.tasks.base import Task
from braid.tools.convert.report import SHOWN


@dataclass(frozen=True)
class TaskHead:
    """A task with its head's *weights*, by the names of the head's own modules."""

    spec: TaskSpec
    weights: dict[str, Tensor]

    @property
    def kind(self) -> str:
        """The task type."""
        return self.spec.task.type


@dataclass(frozen=True)
class Model:
    """An encoder with its weights, the config of its variant, the heads of its tasks by name, and the tokenizer, where
    there is one. *max_length*, *stride*: of rows, as a run directory has them; None: what the encoder allows."""

    encoder: Encoder
    config: EncoderVariant
    heads: dict[str, TaskHead] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    max_length: int | None = None
    stride: int | None = None

    def with_heads(self, heads: Mapping[str, TaskHead]) -> Model:
        """The same with other heads."""
        return replace(self, heads=dict(heads))


def head(kind: str, weights: Mapping[str, Tensor], facts: dict[str, Any], **options: Any) -> TaskHead:
    """A head of a task type."""
    task = TaskConfig.lookup(kind).model_validate({"type": kind, **options})
    assert isinstance(task, Task)
    return TaskHead(TaskSpec(task, facts), {name: tensor.float() for name, tensor in weights.items()})


def variant_of(config: Mapping[str, Any], where: str) -> EncoderVariant:
    """The encoder that computes what a config.json describes. Raises BraidError where none of ours does."""
    kind = config.get("model_type")
    names = {**dict.fromkeys(LAYOUTS, "bert"), "gpt2": "gpt", "modernbert": "modernbert"}
    name = names.get(kind) if isinstance(kind, str) else None
    if name is None and isinstance(kind, str) and kind.startswith("braid-"):
        name = kind.removeprefix("braid-")
    if name is None or name not in EncoderConfig.variants():
        raise BraidError(
            f"{where}: model_type is {kind!r}; what can be converted: {', '.join(names)} and Braid's own encoders. "
            "Other models of transformers can be used as they are: `encoder: {type: hf, pretrained: ...}`"
        )
    variant = EncoderConfig.lookup(name).model_validate({"type": name})
    assert isinstance(variant, EncoderVariant)
    return variant


def skeleton_of(variant: EncoderVariant, config: dict[str, Any], where: Path) -> Encoder:
    """The module of a config.json without weights. Raises BraidError."""
    assert isinstance(variant, PackedVariant | OwnVariant)
    return variant.skeleton(config, where)


def fill(encoder: Encoder, weights: Mapping[str, Tensor]) -> None:
    """Give a skeleton its weights, in fp32."""
    owned = {name: tensor.float().contiguous() for name, tensor in weights.items()}
    encoder.load_state_dict(owned, assign=True)
    for parameter in encoder.parameters():
        parameter.requires_grad_(True)


def check_sizes(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: Path, by: str
) -> None:
    """Every tensor there and of the size that the settings say. Raises BraidError naming all that are not. *by*: what
    says the sizes."""
    wrong = [f"{name} is missing, expected {list(size)}" for name, size in wanted.items() if name not in found]
    wrong += [
        f"{name} is {list(found[name])}, expected {list(size)}"
        for name, size in wanted.items()
        if found.get(name, size) != size
    ]
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise BraidError("\n    ".join([f"{where}: the weights do not fit {by}:", *wrong[:SHOWN], *more]))
