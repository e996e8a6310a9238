"""SentencePiece's `.model` files as tokenizers of ours; neither `sentencepiece` nor `protobuf` is needed.

A `.model` is a protobuf message (`sentencepiece_model.proto` of google/sentencepiece), of which a few fields matter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from braid.data.special_tokens import finished, guard, roles_in
from braid.data.tokens import Tokenizer
from braid.errors import BraidError

SPACE = "\u2581"


class _Kind(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class SentencePieceModel:
    """What a `.model` says. *pieces*: (text, score, kind) in the order of their ids; *algorithm*: 1 unigram, 2 BPE;
    *charsmap*: how characters are normalised; *dummy_prefix*: a text begins with a space; *one_space*: spaces at its
    ends are left out, and several are one."""

    pieces: list[tuple[str, float, int]]
    algorithm: int
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    one_space: bool


def tokenizer_from_sentencepiece(path: Path) -> Tokenizer:
    """The tokenizer of a `.model` file with unigrams or byte pairs: the same ids as SentencePiece's own.

    Raises BraidError for other files and models."""
    try:
        model = read(path.read_bytes())
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise BraidError(f"{path}: not a SentencePiece model: {error}") from error
    if model.algorithm not in (1, 2):
        raise BraidError(f"{path}: a SentencePiece model of words or characters; there are unigram and bpe ones")
    named = roles_in(text for text, _, _ in model.pieces)
    unknown = next((text for text, _, kind in model.pieces if kind == _Kind.UNKNOWN), None)
    if unknown is None:
        raise BraidError(f"{path}: the SentencePiece model has no piece for what is unknown")
    named["unk_token"] = unknown
    control = [text for text, _, kind in model.pieces if kind == _Kind.CONTROL]
    rust = RustTokenizer(_unigram(model) if model.algorithm == 1 else _byte_pairs(model, unknown))
    rust.normalizer, spaces = _normaliser(model), _spaces(model)
    rust.pre_tokenizer = pre_tokenizers.Sequence([*spaces, guard(dict.fromkeys([*named.values(), *control]))])
    rust.decoder = _decoder(model)
    return finished(rust, named, also=control)


def read(content: bytes) -> SentencePieceModel:
    """The fields of a `.model` file that matter. Raises ValueError and its like for anything else."""
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Any] = {}
    normaliser: dict[int, Any] = {}
    for number, value in _fields(content):
        if number == 1:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece.get(2, bytes(4)))[0]
            pieces.append((piece.get(1, b"").decode("utf-8"), score, piece.get(3, _Kind.NORMAL)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normaliser = dict(_fields(value))
    if not pieces:
        raise ValueError("it has no pieces")
    if trainer.get(24, 0):
        raise ValueError("it marks the ends of words instead of their beginnings")
    return SentencePieceModel(
        pieces=pieces,
        algorithm=trainer.get(3, 1),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=normaliser.get(2, b""),
        dummy_prefix=bool(normaliser.get(3, 1)),
        one_space=bool(normaliser.get(4, 1)),
    )


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protobuf message: varints as int, all else as bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(content, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if at + size > len(content):
            raise ValueError("it ends too early")
        yield tag >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number without an end at byte {at}")


def _unigram(model: SentencePieceModel) -> Any:
    unknown = next(number for number, piece in enumerate(model.pieces) if piece[2] == _Kind.UNKNOWN)
    scores = [(text, score) for text, score, _ in model.pieces]
    return models.Unigram(scores, unk_id=unknown, byte_fallback=model.byte_fallback)


def _byte_pairs(model: SentencePieceModel, unknown: str) -> Any:
    """SentencePiece keeps no merges: any two pieces that make up a third are one, those of the best score first."""
    ids = {text: number for number, (text, _, _) in enumerate(model.pieces)}
    usable = {text for text, _, kind in model.pieces if kind in (_Kind.NORMAL, _Kind.UNUSED)}
    merges: list[tuple[float, int, int, str, str]] = []
    for text, score, kind in model.pieces:
        if kind == _Kind.NORMAL:
            halves = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
            merges += [(-score, ids[a], ids[b], a, b) for a, b in halves if a in usable and b in usable]
    pairs = [(a, b) for _, _, _, a, b in sorted(merges)]
    return models.BPE(ids, pairs, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def _normaliser(model: SentencePieceModel) -> Any:
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.one_space:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    elif model.dummy_prefix:
        # The pre-tokenizer sets no space before one that is there.
        steps.append(normalizers.Prepend(" "))
    return normalizers.Sequence(steps)


def _spaces(model: SentencePieceModel) -> list[Any]:
    """Where words begin. Split at spaces first, their offsets do not hold the space in front of them."""
    if model.one_space and model.dummy_prefix:
        return [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    return [pre_tokenizers.Metaspace(prepend_scheme="never", split=model.one_space)]


def _decoder(model: SentencePieceModel) -> Any:
    spaces: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*spaces, *([decoders.Strip(" ", 1, 0)] if model.dummy_prefix else [])])
