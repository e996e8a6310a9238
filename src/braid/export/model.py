"""An exported directory, ready to predict: `braid.load(DIR)` gives it, and it is used as a run's model is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braid.checkpoint.files import read_mapping
from braid.checkpoint.model_files import LoadedModel, load_heads, load_specs
from braid.data.vocabularies import load_tokenizer
from braid.errors import BraidError, RunDirectoryError
from braid.export.graph import EMBEDDING
from braid.export.network import EncoderSizes, ExportedNetwork
from braid.export.session import FILES, OnnxSession, Session, TorchSession
from braid.predict.features import Pool, TokenFeatures
from braid.predict.inputs import Input
from braid.predict.model import Model
from braid.predict.nearest import Neighbours
from braid.tasks.base import Hidden

MANIFEST = "export.json"
FORMAT = 1
"""Version of the directory; one that is higher is refused."""


BATCH_TOKENS = 256
"""Tokens of a batch on a processor: measured with `benchmarks/export.py`'s encoder, ONNX Runtime does half as many
texts a second with 2,048, whose states leave the caches."""


class ExportedModel(Model):
    """One graph with the answers of all its tasks; tokens and decoding are those of every model."""

    network: ExportedNetwork
    manifest: dict[str, Any]

    @classmethod
    def load(cls, run: Path, *, tasks: Sequence[str] | None = None, force: bool = False, **options: Any) -> Model:
        """The model in an exported directory; *tasks*: only these. Options: `device`, `batch_tokens`, `threads` (None:
        as many as torch has), `trusted`; `precision` is what it was exported in.

        *trusted*: needed for a `torch.export` program: torch reads such files with pickle and by evaluating
        expressions, so that one from elsewhere could run code. An ONNX graph cannot.

        Raises RunDirectoryError for a directory that is incomplete, damaged or of a later version."""
        directory = Path(run)
        manifest = read_mapping(directory / MANIFEST)
        _check(manifest, directory / MANIFEST)
        if manifest["to"] == "torch" and not options.pop("trusted", False):
            raise BraidError(
                f"{directory} holds a torch.export program, and reading one can run code that is in it. Where you "
                "know who made it, say so: braid.load(directory, trusted=True), or --trust; an ONNX export needs no "
                "trust"
            )
        precision = options.pop("precision", None)
        if precision not in (None, "auto", manifest["precision"]):
            raise BraidError(f"{directory} was exported in {manifest['precision']}; it has no {precision}")
        threads = options.pop("threads", None) or torch.get_num_threads()
        encoder = manifest["encoder"]
        wanted = None if tasks is None else list(tasks)
        specs = load_specs(directory, encoder["hidden_size"], encoder["sha256"], tasks=wanted, force=force)
        for name in specs:
            if name not in manifest["answers"]:
                raise RunDirectoryError(f"{directory / 'tasks' / name}: the graph has no task {name!r}")
        network = ExportedNetwork(
            _session(directory, manifest, str(options.get("device", "auto")), threads),
            specs,
            EncoderSizes(hidden_size=encoder["hidden_size"], n_states=encoder["n_states"]),
            inputs=manifest["inputs"],
            answers_of={name: manifest["answers"][name] for name in specs},
        )
        load_heads(directory, network)
        loaded = LoadedModel(
            network,
            load_tokenizer(directory / "tokenizer"),
            manifest["max_length"],
            manifest["stride"],
            encoder["sha256"],
            "fp32",
        )
        # Batches are made on the CPU, whatever the graph runs on.
        model = cls(
            loaded, directory, device="cpu", precision="fp32", batch_tokens=options.get("batch_tokens") or BATCH_TOKENS
        )
        model.manifest = manifest
        return model

    def __repr__(self) -> str:
        kind = f"{self.manifest['to']} {self.manifest['precision']}"
        return f"<ExportedModel {self.directory} ({kind}): {', '.join(self.network.specs)}>"

    def pooling(
        self, *, task: str | None = None, layer: int | None = None, pooling: str | None = None
    ) -> tuple[str, Pool]:
        """The one vector of a text that the graph gives: a `similarity` task's, or the mean of the last layer."""
        heads = [name for name, head in self.network.heads() if hasattr(head, "embed")]
        if layer not in (None, -1) or pooling not in (None, "mean") or (heads and (layer, pooling) != (None, None)):
            raise BraidError(f"{self.directory}: an exported graph has one vector of a text only; use the run itself")
        if task is not None and task not in heads:
            raise BraidError(f"task {task!r} makes no embeddings; those that do: {', '.join(heads) or 'none'}")
        output = task or next(iter(heads), EMBEDDING)

        def vectors(hidden: Hidden, rows: Tensor) -> Tensor:
            found: np.ndarray = self.network.run(hidden.batch, [output])[0]
            return torch.from_numpy(found)[rows]

        return output if output == EMBEDDING else f"task {output}", vectors

    def embed_tokens(self, texts: Iterable[Input], *, layer: int = -1) -> Iterator[TokenFeatures]:
        """Raises BraidError: no hidden state leaves the graph."""
        raise BraidError(f"{self.directory}: an exported graph gives no hidden states; use the run itself")

    def nearest(self, *given: Any, **more: Any) -> list[Neighbours]:
        """Raises BraidError: the table of tokens stays in the graph."""
        raise BraidError(f"{self.directory}: an exported graph has no table of tokens; use the run itself")


def is_exported(directory: Path) -> bool:
    """Whether a directory was made by `braid export`."""
    return (directory / MANIFEST).is_file()


def _session(directory: Path, manifest: dict[str, Any], device: str, threads: int) -> Session:
    path = directory / FILES[manifest["to"]]
    if manifest["to"] == "onnx":
        return OnnxSession(path, device=device, threads=threads)
    outputs = [*manifest["answers"], EMBEDDING]
    return TorchSession(path, manifest["inputs"], outputs)


def _check(manifest: dict[str, Any], where: Path) -> None:
    """Raises RunDirectoryError for what is no manifest, or one of a later version."""
    version = manifest.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise RunDirectoryError(f"{where} is of format {version}, and this Braid knows {FORMAT}: use a later Braid")
    kinds = {
        "to": str,
        "precision": str,
        "encoder": dict,
        "inputs": list,
        "answers": dict,
        "max_length": int,
        "stride": int,
    }
    wrong = [name for name, kind in kinds.items() if not isinstance(manifest.get(name), kind)]
    if not wrong and manifest["to"] not in FILES:
        wrong.append("to")
    if not wrong and not all(isinstance(manifest["encoder"].get(key), int) for key in ("hidden_size", "n_states")):
        wrong.append("encoder")
    if version != FORMAT or wrong:
        raise RunDirectoryError(
            f"{where} is no manifest of an export: wrong or missing: {', '.join(wrong) or 'format'}"
        )
