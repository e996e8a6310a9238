"""`braid vocab diff`: two vocabularies side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braid.checkpoint.bare import directory_of
from braid.data.textfile import lines
from braid.data.vocabularies import load_tokenizer, tokenizer_from_vocab
from braid.errors import BraidError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a vocabulary with their ids. *kind*: the model of its tokenizer (WordPiece, BPE, Unigram,
    WordLevel), or `list` for a file that names tokens only; *repeated*: lines of such a file that come again."""

    path: Path
    kind: str
    ids: dict[str, int]
    repeated: int = 0


@dataclass(frozen=True)
class Difference:
    """Two vocabularies: the tokens in *both* and in one only, in the order of their ids; *moved*: how many of both have
    another id in the second."""

    first: Vocabulary
    second: Vocabulary
    both: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    moved: int

    def to_json(self, samples: int | None = None) -> dict[str, Any]:
        """A JSON-able mapping; *samples*: tokens of each part, None: all."""
        sides = {
            name: {"path": str(side.path), "kind": side.kind, "size": len(side.ids)}
            for name, side in (("first", self.first), ("second", self.second))
        }
        counts = {"both": len(self.both), "only_first": len(self.only_first), "only_second": len(self.only_second)}
        parts = {"both": self.both, "only_first": self.only_first, "only_second": self.only_second}
        shown = {name: list(tokens[:samples]) for name, tokens in parts.items()}
        return {**sides, "counts": {**counts, "moved": self.moved}, "tokens": shown}


def diff_vocab(first: Path, second: Path) -> Difference:
    """Compare the vocabularies of two run directories, encoders, tokenizers, or files (tokenizer.json, SentencePiece's
    .model, vocab.json, a list with a token a line). Raises BraidError for what holds none."""
    a, b = read_vocabulary(first), read_vocabulary(second)
    both = tuple(token for token in a.ids if token in b.ids)
    return Difference(
        first=a,
        second=b,
        both=both,
        only_first=tuple(token for token in a.ids if token not in b.ids),
        only_second=tuple(token for token in b.ids if token not in a.ids),
        moved=sum(a.ids[token] != b.ids[token] for token in both),
    )


def read_vocabulary(given: Path) -> Vocabulary:
    """The vocabulary at a place. Raises BraidError."""
    path = directory_of(given)
    if path.is_dir():
        inner = path / "encoder"
        tokenizer = load_tokenizer(inner if (inner / "config.json").is_file() else path)
    elif not path.is_file():
        raise BraidError(f"there is no vocabulary {path.resolve()}: name a directory with a tokenizer, or its file")
    elif path.name.endswith("vocab.json"):
        return Vocabulary(given, "list", _sorted(_mapping(path)))
    elif path.suffix in (".json", ".model"):
        tokenizer = tokenizer_from_vocab(path)
    else:
        names = [line for _, line in lines(str(path), "utf-8") if line]
        ids: dict[str, int] = {}
        for number, name in enumerate(names):
            ids.setdefault(name, number)
        if not ids:
            raise BraidError(f"{path}: there is no token in it")
        return Vocabulary(given, "list", ids, len(names) - len(ids))
    kind = str(type(tokenizer.rust.model).__name__)
    return Vocabulary(given, kind, _sorted(tokenizer.rust.get_vocab(with_added_tokens=True)))


def _mapping(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BraidError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(number, int) for number in content.values()):
        raise BraidError(f"{path}: no mapping of tokens to ids")
    return content


def _sorted(ids: dict[str, int]) -> dict[str, int]:
    return dict(sorted(ids.items(), key=lambda item: item[1]))
