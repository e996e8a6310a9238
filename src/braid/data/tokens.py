"""The tokenizer: Rust `tokenizers` behind a small face that keeps offsets and knows the special tokens.

Special tokens are placed by Braid itself from a `Template` read off the tokenizer once, so that windows of long
texts and truncated pairs cost no second tokenisation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders

from braid.data.patience import panics
from braid.data.piecewise import Piecewise, piecewise
from braid.errors import BraidError

_SURROGATES = re.compile("[\ud800-\udfff]")
_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_BETWEEN_HAN = re.compile(f"(?<=[{_WIDE}]) +| +(?=[{_WIDE}])")
"""Spaces beside characters that are written without any."""

USUAL_NAMES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""How special tokens are called where nothing says so, by transformers' names of their roles."""
_FILLERS = ("[UNK]", "<unk>", "<|endoftext|>", "</s>", "[PAD]", "<pad>")


@dataclass(frozen=True)
class Template:
    """Where special tokens stand: `prefix A suffix` and `prefix A middle B end`, with the segment of each piece."""

    prefix: np.ndarray
    suffix: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    pair_segments: tuple[int, int, int, int, int]
    """Segments of prefix, A, middle, B, end in a pair (0 everywhere in a single text)."""

    @property
    def single_cost(self) -> int:
        """Special tokens around one text."""
        return len(self.prefix) + len(self.suffix)

    @property
    def pair_cost(self) -> int:
        """Special tokens around a pair."""
        return len(self.prefix) + len(self.middle) + len(self.end)


@dataclass(frozen=True)
class Tokens:
    """Pieces of one string, without special tokens: *ids* [n], *offsets* [n, 2] in characters of the string."""

    ids: np.ndarray
    offsets: np.ndarray


@dataclass(eq=False)
class Tokenizer:
    """A Rust tokenizer with what else transformers wants to find beside it (*files*: name -> JSON)."""

    rust: RustTokenizer
    files: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rust.no_truncation()
        self.rust.no_padding()
        # `[SEP]` typed by a user is text, not a separator.
        self.rust.encode_special_tokens = True

    @cached_property
    def sha256(self) -> str:
        """Hash of the whole tokenizer: the same hash tokenises alike."""
        return hashlib.sha256(self.rust.to_str().encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """Rows that the embedding needs: the largest id + 1, added tokens included."""
        return max(self.rust.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @cached_property
    def pad_id(self) -> int:
        """Id of the padding token; 0 where there is none."""
        return self._special("pad_token") or 0

    @cached_property
    def unk_id(self) -> int | None:
        """Id of the token for what is not in the vocabulary; None where there is none."""
        return self._special("unk_token")

    @cached_property
    def cls_id(self) -> int | None:
        """Id of the token that begins a text; None where there is none."""
        return self._special("cls_token")

    @cached_property
    def sep_id(self) -> int | None:
        """Id of the token that ends a text; None where there is none."""
        return self._special("sep_token")

    @cached_property
    def mask_id(self) -> int | None:
        """Id of the token that hides another; None where there is none."""
        return self._special("mask_token")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of all special tokens."""
        added = {number for number, token in self.rust.get_added_tokens_decoder().items() if token.special}
        named = {self._special(role) for role in USUAL_NAMES}
        return frozenset(added | {number for number in named if number is not None})

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary spells them."""
        return [str(self.rust.id_to_token(int(number))) for number in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens as a text to read, special ones left out. WordPiece does not keep where spaces were: there is none
        between Chinese characters, and one between other words."""
        if self.rust.decoder is not None:
            with panics("tokenizer.json"):
                return str(self.rust.decode([int(number) for number in ids], skip_special_tokens=True))
        pieces = self.tokens([number for number in ids if int(number) not in self.special_ids])
        return _BETWEEN_HAN.sub("", str(decoders.WordPiece(cleanup=True).decode(pieces))) if pieces else ""

    def encode_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of the pieces of every string, int32, as fast as can be: no offsets are kept."""
        cleaned = [clean(text) for text in texts]
        if self._piecewise is not None:
            return self._piecewise(cleaned)
        return [np.asarray(ids, dtype=np.int32) for ids in self._ids(cleaned)]

    @cached_property
    def _piecewise(self) -> Piecewise | None:
        return piecewise(self.rust, self._ids)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        with panics("tokenizer.json"):
            return [encoding.ids for encoding in self.rust.encode_batch_fast(texts, add_special_tokens=False)]

    def _special(self, role: str) -> int | None:
        given = [self.files.get(name, {}).get(role) for name in ("tokenizer_config.json", "special_tokens_map.json")]
        named = [token.get("content") if isinstance(token, dict) else token for token in given]
        for token in (*named, *USUAL_NAMES[role]):
            if isinstance(token, str) and (found := self.rust.token_to_id(token)) is not None:
                return int(found)
        return None

    @cached_property
    def _filler(self) -> int:
        # Read off the Rust tokenizer alone: it is all that tokenising processes are handed.
        found = (self.rust.token_to_id(name) for name in _FILLERS)
        return next((int(number) for number in found if number is not None), 0)

    @cached_property
    def template(self) -> Template:
        """Read off how the tokenizer itself surrounds `a` and the pair `a`, `a`."""
        with panics("tokenizer.json"):
            single, pair = self.rust.encode("a"), self.rust.encode("a", "a")
        whole, both = _parts(single), _parts(pair)
        if len(whole) != 3 or len(both) != 5:
            raise BraidError("this tokenizer places its special tokens in a way that Braid does not know")
        return Template(
            prefix=whole[0][0],
            suffix=whole[2][0],
            middle=both[2][0],
            end=both[4][0],
            pair_segments=tuple(segment for _, segment in both),  # type: ignore[arg-type]
        )

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Tokens]:
        """Pieces and offsets of every string. Lone surrogates are read as U+FFFD, which moves no offset.

        A string without pieces is one token for the unknown where no special token stands around a text (GPT-2), since
        a row needs one."""
        bare = self.template.single_cost == 0
        with panics("tokenizer.json"):
            encodings = self.rust.encode_batch([clean(text) for text in texts], add_special_tokens=False)
        for encoding in encodings:
            if bare and not encoding.ids:
                yield Tokens(np.array([self._filler], dtype=np.int32), np.zeros((1, 2), dtype=np.int32))
                continue
            offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
            yield Tokens(np.asarray(encoding.ids, dtype=np.int32), offsets)

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and its companions, as `AutoTokenizer.from_pretrained` reads them."""
        directory.mkdir(parents=True, exist_ok=True)
        self.rust.encode_special_tokens = False
        self.rust.save(str(directory / "tokenizer.json"))
        self.rust.encode_special_tokens = True
        for name, content in self.files.items():
            (directory / name).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def clean(text: str) -> str:
    """The string as Rust can hold it: each lone surrogate becomes U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def _parts(encoding: Any) -> list[tuple[np.ndarray, int]]:
    """Alternating runs of special tokens and of texts: (ids, segment) each, special runs possibly empty."""
    runs: list[tuple[list[int], int]] = [([], 0)]
    previous: int | None = None
    for token, owner, segment in zip(encoding.ids, encoding.sequence_ids, encoding.type_ids, strict=True):
        if owner != previous:
            if owner is not None and previous is not None:
                runs.append(([], 0))
            runs.append(([], segment))
            previous = owner
        if not runs[-1][0]:
            runs[-1] = ([], segment)
        runs[-1][0].append(token)
    if previous is not None:
        runs.append(([], 0))
    return [(np.asarray(ids, dtype=np.int32), segment) for ids, segment in runs]
