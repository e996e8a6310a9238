"""Token shards on disk: a folder of parts, each memory-mapped, with an index of sentences and documents.

    index.json                      what made it: tokenizer, options; what it holds
    part-00000/ids.npy              tokens of all documents end to end, uint16 or uint32
    part-00000/sentences.npy        where each sentence ends, in tokens (int64)
    part-00000/documents.npy        where each document ends, in sentences (int64)
    part-00000/characters.npy       characters of each document (int64)
    part-00000/starts.npy           whether each token begins a word (bool; only where a word splitter was asked for)

A part appears under its name only when it is whole; a folder is whole when its index says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braid.errors import BraidError

FORMAT = 1
_PART = re.compile(r"part-(\d{5,})")


@dataclass(frozen=True, eq=False)
class Part:
    """One part; arrays as the module says, memory-mapped."""

    ids: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    characters: np.ndarray
    starts: np.ndarray | None = None


def part_folder(folder: Path, number: int) -> Path:
    """Where part `number` is."""
    return folder / f"part-{number:05d}"


def write_part(folder: Path, number: int, part: Part) -> dict[str, int]:
    """Write a part that is either whole or not there; how much it holds."""
    target = part_folder(folder, number)
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name in ("ids", "sentences", "documents", "characters", "starts"):
            array = getattr(part, name)
            if array is not None:
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        held = {"tokens": len(part.ids), "sentences": len(part.sentences), "documents": len(part.documents)}
        (temporary / "part.json").write_text(json.dumps(held), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return held


def read_part(path: Path) -> Part:
    """Map a part. Raises BraidError for a damaged one."""
    try:
        arrays = {
            name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("ids", "sentences", "documents", "characters", "starts")
            if (path / f"{name}.npy").is_file()
        }
        return Part(**arrays)
    except (OSError, ValueError, TypeError) as error:
        raise BraidError(f"{path}: damaged token shard ({error}); remove the folder and prepare it again") from error


def held(folder: Path, number: int) -> dict[str, int] | None:
    """How much a finished part holds; None where there is none yet."""
    try:
        content = json.loads((part_folder(folder, number) / "part.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def numbers(folder: Path) -> list[int]:
    """The finished parts of a folder, ascending."""
    found = [_PART.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in found if match)


def write_index(folder: Path, content: dict[str, Any]) -> None:
    """Say that a folder is whole, and what is in it."""
    temporary = folder / f".index.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"format": FORMAT, **content}, indent=2), encoding="utf-8")
    os.replace(temporary, folder / "index.json")


def read_index(folder: Path) -> dict[str, Any] | None:
    """What a whole folder says of itself; None for one that is not whole, or not there."""
    try:
        content = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


@dataclass(frozen=True, eq=False)
class Corpus:
    """The parts of one or several folders, in order."""

    parts: tuple[Part, ...]

    @classmethod
    def open(cls, folders: Sequence[Path], *, tokenizer_sha256: str) -> Corpus:
        """Map the parts of whole folders. Raises BraidError for one that is not whole, or of another tokenizer."""
        parts: list[Part] = []
        for folder in folders:
            index = read_index(folder)
            if index is None:
                raise BraidError(f"{folder} holds no prepared corpus (no whole index.json); run `braid prepare` first")
            if index.get("tokenizer") != tokenizer_sha256:
                raise BraidError(
                    f"{folder} was prepared with another tokenizer than this encoder's: its token ids would mean "
                    "other words. Prepare it again with this recipe, or use the tokenizer it was made with"
                )
            parts += [read_part(part_folder(folder, number)) for number in numbers(folder)]
        return cls(tuple(part for part in parts if len(part.ids)))

    @property
    def tokens(self) -> int:
        """Tokens of all parts."""
        return sum(len(part.ids) for part in self.parts)

    @property
    def documents(self) -> int:
        """Documents of all parts."""
        return sum(len(part.documents) for part in self.parts)
