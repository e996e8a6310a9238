"""`export.json`: what an exported directory says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from braid.errors import RunDirectoryError, did_you_mean
from braid.export.session import FILES

MANIFEST = "export.json"
FORMAT = 2
"""Version of the directory. Another one is refused: since 2 it holds decoders in the place of heads."""

_KINDS = {
    "to": str,
    "precision": str,
    "encoder": dict,
    "inputs": list,
    "answers": dict,
    "max_length": int,
    "stride": int,
}


def check_manifest(manifest: Mapping[str, Any], where: Path) -> None:
    """Raises RunDirectoryError for what is no manifest, or one of another version."""
    version = manifest.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise RunDirectoryError(f"{where} is of format {version}, and this Braid knows {FORMAT}: use a later Braid")
    if isinstance(version, int) and 0 < version < FORMAT:
        raise RunDirectoryError(
            f"{where} is of format {version}, and this Braid reads {FORMAT}: export the run again (--overwrite)"
        )
    wrong = [name for name, kind in _KINDS.items() if not isinstance(manifest.get(name), kind)]
    if not wrong and manifest["to"] not in FILES:
        wrong.append("to")
    if not wrong and not all(isinstance(manifest["encoder"].get(key), int) for key in ("hidden_size", "n_states")):
        wrong.append("encoder")
    if version != FORMAT or wrong:
        raise RunDirectoryError(
            f"{where} is no manifest of an export: wrong or missing: {', '.join(wrong) or 'format'}"
        )


def chosen_tasks(directory: Path, manifest: Mapping[str, Any], wanted: Sequence[str] | None) -> list[str]:
    """The tasks in `tasks/`, in the graph's order; *wanted*: only these. Raises RunDirectoryError for one that is not
    there, or not in the graph."""
    folder, answers = directory / "tasks", manifest["answers"]
    there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    names = [name for name in answers if name in there]
    for name in there if wanted is None else wanted:
        if name in there and name not in answers:
            raise RunDirectoryError(f"{folder / name}: the graph has no task {name!r}")
        if name not in there:
            raise RunDirectoryError(f"{directory} has no task {name!r}: {did_you_mean(name, names)}")
    return names if wanted is None else list(dict.fromkeys(wanted))
