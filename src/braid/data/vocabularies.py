"""Tokenizers from files, and new ones from texts.

All that are made here put `[CLS]` in front of a text and `[SEP]` behind it, and between the two of a pair, as BERT
does; those from files do so as far as they have the two.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models

from braid.data.patience import check_patience
from braid.data.sentencepiece_model import tokenizer_from_sentencepiece
from braid.data.special_tokens import SPECIAL_TOKENS, config_files, finished, roles_in
from braid.data.tokens import Tokenizer, clean
from braid.data.vocabulary_kinds import (
    SPACE,
    VocabularyType,
    empty_model,
    listed_model,
    settled_model,
    split_for_training,
    tokenizer_of,
    trainer_of,
)
from braid.errors import BraidError

__all__ = ["SPECIAL_TOKENS", "VocabularyType", "load_tokenizer", "tokenizer_from_vocab", "train", "train_wordpiece"]

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
"""Characters that BERT's normaliser sets apart with spaces: they never continue a word."""

_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MAX_JSON_BYTES = 200_000_000
BATCH = 1000
"""Texts that a trainer is given at a time."""

Read = Callable[[], Iterable[str]]
"""Reads the texts, once for each time that it is called."""


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a directory in transformers' layout (tokenizer.json, else what AutoTokenizer reads), or of one
    with nothing but a vocabulary. Raises BraidError where there is none."""
    files = {name: _json(directory / name) for name in _CONFIG_FILES if (directory / name).is_file()}
    if (directory / "tokenizer.json").is_file():
        rust = _rust_from_file(directory / "tokenizer.json")
        check_patience(rust, directory / "tokenizer.json")
        return Tokenizer(rust, files)
    lowercase = bool(files.get("tokenizer_config.json", {}).get("do_lower_case", True))
    given, found = _vocabulary_in(directory), sorted(directory.glob("*.model"))
    if not files and not (directory / "config.json").is_file():
        given = given or (found[0] if len(found) == 1 else None)
        if given is None:
            wanted = "tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece .model"
            raise BraidError(f"no usable tokenizer in {directory}: it has no {wanted}")
        return tokenizer_from_vocab(given, lowercase=lowercase)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False)
        rust = RustTokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as error:
        if given is not None:
            return tokenizer_from_vocab(given, lowercase=lowercase)
        # Such a model's own ids need not be those of the encoder that it belongs to (XLM-R's are not).
        hint = "; reading its .model file may need: pip install sentencepiece protobuf" if found else ""
        raise BraidError(f"no usable tokenizer in {directory}: {error}{hint}") from error
    check_patience(rust, directory)
    if not files:
        pad, unk, cls, sep, mask = SPECIAL_TOKENS
        roles = {"pad_token": pad, "unk_token": unk, "cls_token": cls, "sep_token": sep, "mask_token": mask}
        files = config_files(roles, loaded.model_max_length)
    return Tokenizer(rust, files)


def tokenizer_from_vocab(path: Path, *, lowercase: bool | None = None, kind: VocabularyType = "wordpiece") -> Tokenizer:
    """A tokenizer for training from scratch: a vocab.txt with a token a line, a tokenizer.json, a SentencePiece
    `.model`, GPT-2's vocab.json with merges.txt beside it, or a directory with any of them.

    *lowercase* and *kind* (wordpiece, character, word) are of a plain list, which does not tell them. Raises BraidError
    for what is none of these, or lacks what a tokenizer needs."""
    if path.is_dir():
        return load_tokenizer(path)
    if not path.is_file():
        raise BraidError(f"encoder.vocab: there is no file {path.resolve()}")
    if (merges := _merges_of(path)).is_file():
        return _byte_pairs(path, merges)
    if path.suffix == ".model":
        return tokenizer_from_sentencepiece(path)
    if path.name.endswith("vocab.json"):
        raise BraidError(f"{path}: GPT-2's vocabularies need their merges, and there is no {merges}")
    if path.suffix == ".json":
        rust = _rust_from_file(path)
        return Tokenizer(rust, config_files(roles_in(rust.get_vocab(with_added_tokens=True))))
    if kind in ("bpe", "unigram"):
        raise BraidError(f"{path}: a list of tokens is no {kind} vocabulary; it is of pieces, characters or words")
    ids = _listed(path)
    missing = [token for token in SPECIAL_TOKENS[:4] if token not in ids]
    if missing:
        raise BraidError(f"{path}: the vocabulary lacks {', '.join(missing)}, one token a line each")
    model = listed_model(kind, ids)
    return finished(tokenizer_of(kind, model, lowercase=lowercase is not False), roles_in(ids))


def _vocabulary_in(directory: Path) -> Path | None:
    for name in ("vocab.json", "vocab.txt"):
        path = directory / name
        if path.is_file() and (name == "vocab.txt" or _merges_of(path).is_file()):
            return path
    return None


def _merges_of(vocab: Path) -> Path:
    """Where the merges of a vocabulary would be: `vocab.json` and `merges.txt`, `x_vocab.txt` and `x_merges.txt`."""
    named = vocab.name.replace("vocab", "merges") if "vocab" in vocab.name else "merges.txt"
    return vocab.with_name(named).with_suffix(".txt")


def _listed(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BraidError(f"{path}: not UTF-8, so no list of tokens: {error}") from error
    return {token.rstrip("\r"): number for number, token in enumerate(lines) if token.rstrip("\r")}


def _byte_pairs(vocab: Path, merges: Path) -> Tokenizer:
    """GPT-2's: a vocabulary (JSON, or a token a line) and the merges beside it."""
    ids = _json(vocab) if vocab.suffix == ".json" else _listed(vocab)
    try:
        lines = merges.read_text(encoding="utf-8").splitlines()
        pairs = [(a, b) for line in lines if line and not line.startswith("#version") for a, b in [line.split(" ")]]
        rust = tokenizer_of("bpe", models.BPE(ids, pairs), lowercase=False)
    except Exception as error:
        raise BraidError(f"{vocab} and {merges} are no byte-pair vocabulary: {error}") from error
    roles = roles_in(ids)
    if not roles and "<|endoftext|>" in ids:
        roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    return finished(rust, roles)


def train(
    kind: VocabularyType, read: Read, *, size: int, lowercase: bool | None = None, min_frequency: int = 0
) -> Tokenizer:
    """A vocabulary of at most `size` tokens, but never fewer than special tokens and characters (of word pieces and
    unigrams) or bytes (of BPE) need. Of the texts no more than a few are held at a time.

    *lowercase*: fold case, and accents of word pieces; None: for all kinds but BPE, which keeps every string as it is.
    *min_frequency*: characters, words and pairs of pieces that occur less often get no token. Raises BraidError where
    there is no text, or `size` is too small for any."""
    if size <= len(SPECIAL_TOKENS):
        raise BraidError(f"a vocabulary of {size} tokens has no room beside the {len(SPECIAL_TOKENS)} special ones")
    if not any(text.strip() for text in read()):
        raise BraidError("there is no text to make a vocabulary of")
    folds = kind != "bpe" if lowercase is None else lowercase
    rust = tokenizer_of(kind, empty_model(kind), lowercase=folds)
    split_for_training(kind, rust)
    known, rare = _characters(read, rust, min_frequency) if kind in ("wordpiece", "unigram") else ([], {})
    # The trainer numbers continuation characters in the order of a hash map that is seeded anew each time, and ties
    # between merges follow these numbers. Given as special tokens they have fixed numbers, and so has all else.
    fixed = [f"##{character}" for character in known if not _HAN.match(character)] if kind == "wordpiece" else []
    if kind == "unigram":
        size = max(size, len(SPECIAL_TOKENS) + len({SPACE, *known}))
    trainer = trainer_of(kind, size=size, min_frequency=min_frequency, fixed=fixed)
    try:
        rust.train_from_iterator(_batches(read(), rare), trainer=trainer)
    except Exception as error:
        # Characters that are composed of several make more than were counted.
        if "not large enough" not in str(error):
            raise
        raise BraidError(f"a vocabulary of {size} tokens is too small for the characters of these texts") from error
    return finished(tokenizer_of(kind, settled_model(kind, rust), lowercase=folds), roles_in(SPECIAL_TOKENS))


def train_wordpiece(texts: Iterable[str], *, size: int, lowercase: bool) -> Tokenizer:
    """A WordPiece vocabulary of at most `size` pieces from texts; Chinese characters are pieces of their own."""
    held = list(texts)
    return train("wordpiece", lambda: held, size=size, lowercase=lowercase)


def _characters(read: Read, rust: RustTokenizer, min_frequency: int) -> tuple[list[str], dict[int, str]]:
    """The characters of normalised texts, in order, and a translation that makes spaces of those that are too rare."""
    counts: Counter[str] = Counter()
    for text in read():
        counts.update(clean(text))
    normal = {character: str(rust.normalizer.normalize_str(character)) for character in counts}
    totals: Counter[str] = Counter()
    for character, made in normal.items():
        totals.update(dict.fromkeys(made, counts[character]))
    rare = {character for character, n in totals.items() if n < min_frequency}
    known = sorted(character for character in totals if not character.isspace() and character not in rare)
    return known, {ord(character): " " for character, made in normal.items() if rare.intersection(made)}


def _batches(texts: Iterable[str], rare: dict[int, str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(clean(text).translate(rare) if rare else clean(text))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _rust_from_file(path: Path) -> RustTokenizer:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BraidError(f"{path}: {path.stat().st_size:,} bytes is too large for a tokenizer.json")
    try:
        return RustTokenizer.from_file(str(path))
    except Exception as error:
        raise BraidError(f"{path}: not a tokenizer.json that can be read: {error}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BraidError(f"{path}: not valid JSON: {error}") from error
