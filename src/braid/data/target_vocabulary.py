"""Targets that are written one token after the other: what labels say, and the vocabulary that makes ids of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from braid.data.labels import canonical, id_of
from braid.data.tokens import Tokenizer, clean
from braid.data.units import CJK
from braid.data.vocabularies import tokenizer_from_vocab
from braid.errors import LabelError, SkippedLabelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

_SPACES_BY_CJK = re.compile(f"(?<=[{CJK}]) +| +(?=[{CJK}])")


def read_text(label: Any) -> str:
    """A target text without the spaces around it. Raises LabelError, SkippedLabelError."""
    if not isinstance(label, str):
        hint = "; for a list of symbols set `target: tags`" if isinstance(label, list | tuple) else ""
        raise LabelError(f"the target is {label!r:.80}; expected a string{hint}")
    if not label.strip():
        raise SkippedLabelError("the target is empty")
    return clean(label).strip()


def read_symbols(label: Any) -> list[str]:
    """The symbols of a sequence of tags. Raises LabelError, SkippedLabelError."""
    if not isinstance(label, str | list | tuple):
        raise LabelError(f"the target is {label!r:.80}; expected symbols, as a string with spaces or as a list")
    symbols = label.split() if isinstance(label, str) else [canonical(item) for item in label]
    if not symbols:
        raise SkippedLabelError("the target is empty")
    for symbol in symbols:
        if len(symbol.split()) > 1:
            raise LabelError(f"the symbol {symbol!r:.80} has a space in it; symbols are told apart by spaces")
    return symbols


class Vocabulary(Protocol):
    """Targets as ids 0..size-1, and back."""

    size: int

    def encode(self, target: Any) -> list[int]:
        """Ids of what `read_text` or `read_symbols` gives. Raises LabelError for a symbol that the inventory lacks."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text, or the symbols with spaces between."""
        ...


class Symbols:
    """An inventory of tags."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.size = len(labels)

    def encode(self, target: Sequence[str]) -> list[int]:
        """Places in the inventory."""
        return [id_of(symbol, self.labels) for symbol in target]

    def decode(self, ids: Sequence[int]) -> str:
        """The symbols with spaces between."""
        return " ".join(self.labels[k] for k in ids)


class Pieces:
    """A tokenizer's vocabulary."""

    def __init__(self, content: str) -> None:
        from tokenizers import Tokenizer as RustTokenizer

        self.tokenizer = Tokenizer(RustTokenizer.from_str(content))
        self.size = self.tokenizer.vocab_size

    def encode(self, target: str) -> list[int]:
        """Pieces of a text, without special tokens."""
        ids: list[int] = self.tokenizer.rust.encode(target, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text that the tokenizer's own decoder makes of the pieces, without spaces beside Chinese characters where
        that is WordPiece's."""
        text: str = self.tokenizer.rust.decode(list(ids), skip_special_tokens=True)
        if type(self.tokenizer.rust.model).__name__ == "WordPiece":
            text = _SPACES_BY_CJK.sub("", text)
        return text.strip()


def load_vocabulary(*, labels: Sequence[str] | None = None, tokenizer: str | None = None) -> Vocabulary:
    """The vocabulary of an inventory of symbols, or of a tokenizer.json."""
    if labels is not None:
        return Symbols(labels)
    assert tokenizer is not None
    return _pieces(tokenizer)


@lru_cache(maxsize=32)
def _pieces(content: str) -> Pieces:
    return Pieces(content)


def train_bpe(texts: Iterable[str], *, size: int) -> str:
    """A tokenizer.json of a byte-level BPE (as GPT-2's): it holds every string, and decoding gives it back. Chinese and
    kana characters stand alone, so that merges of them are never more than one."""
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as RustTokenizer

    rust = RustTokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(f"[{CJK}]"), "isolated"), bytewise])
    rust.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    rust.train_from_iterator(texts, trainer=trainer)
    return str(rust.to_str())


def given_tokenizer(path: Path) -> str:
    """A tokenizer.json of what `vocab:` names."""
    if not path.exists():
        raise LabelError(f"vocab: there is no file {path.resolve()}")
    # Whether a bare vocabulary is of lower-cased text can be seen: it has no piece with a capital letter then.
    cased = path.suffix == ".txt" and any(
        re.search("[A-Z]", line) for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("[")
    )
    return readable_tokenizer(tokenizer_from_vocab(path, lowercase=not cased).rust)


def readable_tokenizer(rust: RustTokenizer) -> str:
    """The tokenizer.json of a tokenizer that can also make text of its pieces."""
    from tokenizers import Tokenizer as RustTokenizer
    from tokenizers import decoders

    rust = RustTokenizer.from_str(rust.to_str())
    if rust.decoder is None and type(rust.model).__name__ == "WordPiece":
        rust.decoder = decoders.WordPiece()
    return str(rust.to_str())
