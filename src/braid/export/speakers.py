"""What is left of a head in an exported directory: how its task reads, and how it decodes.

`tasks/NAME/decoder.json` holds this, arrays (a CRF's scores, thresholds) `decoder.safetensors` beside it. The head of a
plugin that decodes by itself is kept whole, `head.safetensors`, and needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import TypeAdapter, ValidationError

from braid.checkpoint.files import read_mapping, write_bytes, write_json
from braid.data.example import Example
from braid.decoding.base import Decoder, Intake, restored
from braid.errors import BraidError, RunDirectoryError

if TYPE_CHECKING:
    from braid.model.network import TaskSpec
    from braid.tasks.base import Head

OPTIONS, ARRAYS, HEAD = "decoder.json", "decoder.safetensors", "head.safetensors"


class Speaker(Protocol):
    """What says of a graph's answers what they mean."""

    intake: Intake

    @property
    def tunes(self) -> bool:
        """Whether `tune` sets something from the dev data."""

    @property
    def embeds(self) -> bool:
        """Whether what the graph answers is a vector of each text."""

    def unfit(self, example: Example) -> str | None:
        """Why this input cannot be read; None: it can."""

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """A `Prediction` per example."""

    def tune(
        self, logits: Sequence[np.ndarray], golds: Sequence[Any], examples: Sequence[Example], units: Sequence[Any]
    ) -> None:
        """Set what dev labels set; it is not written down."""


@dataclass
class Decoding:
    """A task without its head."""

    intake: Intake
    decoder: Decoder

    @property
    def tunes(self) -> bool:
        """See `Speaker`."""
        return self.decoder.tunes

    @property
    def embeds(self) -> bool:
        """See `Speaker`."""
        return self.decoder.embeds

    def unfit(self, example: Example) -> str | None:
        """See `Speaker`."""
        return self.intake.unfit(example)

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Any]:
        """See `Speaker`."""
        return self.decoder.decode(logits, examples, units)

    def tune(
        self, logits: Sequence[np.ndarray], golds: Sequence[Any], examples: Sequence[Example], units: Sequence[Any]
    ) -> None:
        """See `Speaker`."""
        self.decoder = self.decoder.tuned(logits, golds, examples, units)


class WholeHead:
    """A task whose head decodes by itself."""

    def __init__(self, spec: TaskSpec, head: Head) -> None:
        self.task, self.head, self.intake = spec.labelled, head, spec.labelled.intake(spec.facts)
        self.tunes, self.embeds = head.tunes, hasattr(head, "embed")
        self.decode, self.tune = head.decode, head.tune

    def unfit(self, example: Example) -> str | None:
        """See `Speaker`."""
        return self.task.fits(example)


def whole_head(directory: Path, name: str, encoder: Mapping[str, Any], *, force: bool) -> WholeHead:
    """The head of a task that has no decoder of its own. Raises RunDirectoryError."""
    from braid.checkpoint.model_files import load_head, load_specs

    size, sha256 = encoder["hidden_size"], str(encoder["sha256"])
    spec = load_specs(directory, size, sha256, tasks=[name], force=force)[name]
    head = spec.task.make_head(spec.facts, size)
    load_head(directory / "tasks" / name, head)
    return WholeHead(spec, head.eval())


def write_speaker(folder: Path, spec: TaskSpec, head: Head, encoder_sha256: str) -> None:
    """Write what decodes a task into its folder, and leave nothing there that only a head needs."""
    from safetensors.numpy import save

    from braid.tasks.base import Head as AnyHead
    from braid.tasks.base import LabelledTask

    if type(head).decode is not AnyHead.decode or type(spec.labelled).fits is not LabelledTask.fits:
        return
    decoder = head.decoding()
    options, arrays = decoder.saved()
    content = {
        "kind": decoder.kind,
        "intake": asdict(spec.labelled.intake(spec.facts)),
        "options": options,
        "arrays": sorted(arrays),
        "encoder_sha256": encoder_sha256,
    }
    if arrays:
        write_bytes(folder / ARRAYS, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    write_json(folder / OPTIONS, content)
    (folder / HEAD).unlink()


def read_speaker(folder: Path, encoder_sha256: str | None) -> Decoding | None:
    """What decodes a task, from its folder; None: a head that is there whole. *encoder_sha256*: of the graph's encoder,
    which must be the task's too; None: it need not. Raises RunDirectoryError."""
    if not (folder / OPTIONS).is_file() and (folder / HEAD).is_file():
        return None
    content = read_mapping(folder / OPTIONS)
    if encoder_sha256 not in (None, content.get("encoder_sha256")):
        raise RunDirectoryError(f"{folder} is of another export; its labels need not be this graph's (--force: use it)")
    try:
        intake: Intake = TypeAdapter(Intake).validate_python(content.get("intake"))
        arrays = _arrays(folder / ARRAYS) if content.get("arrays") else {}
        if sorted(arrays) != content.get("arrays"):
            raise ValueError(f"{ARRAYS} holds {sorted(arrays)}, not {content.get('arrays')}")
        decoder = restored(str(content.get("kind")), dict(content.get("options", {})), arrays)
    except RunDirectoryError:
        raise
    except BraidError as error:
        raise RunDirectoryError(f"{folder / OPTIONS}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RunDirectoryError(f"{folder / OPTIONS}: what it says decodes nothing: {wrong:.300}") from error
    except (ValueError, TypeError) as error:
        raise RunDirectoryError(f"{folder / OPTIONS}: what it says decodes nothing: {error}") from error
    return Decoding(intake, decoder)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise RunDirectoryError(f"{path} is missing")
    try:
        return dict(load_file(str(path)))
    except (SafetensorError, OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} is damaged or no safetensors file: {error}") from error
