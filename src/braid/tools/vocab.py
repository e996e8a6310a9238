"""`braid vocab build`: a vocabulary from texts, and what it makes of them."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from braid.config.families import SourceConfig
from braid.data.corpus.documents import Documents
from braid.data.progress import counting
from braid.data.sources.base import Source
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import VocabularyType, train
from braid.errors import BraidError

SAMPLE = 1000
"""Texts that are tokenised to say how well a vocabulary fits."""

LISTED = ("wordpiece", "character", "word")
"""Kinds whose tokens are a plain list, which vocab.txt can hold."""


@dataclass(frozen=True)
class Built:
    """What was made: the tokenizer, its size, the share of unknown tokens and the characters a token stands for in a
    sample of the texts, and one text with its tokens."""

    tokenizer: Tokenizer
    size: int
    unknown: float
    characters: float
    text: str
    tokens: tuple[str, ...]


def build_vocab(
    files: Sequence[str],
    out: Path,
    *,
    kind: VocabularyType = "wordpiece",
    size: int = 21128,
    lowercase: bool = True,
    min_frequency: int = 2,
    limit: int | None = None,
    column: str | None = None,
    overwrite: bool = False,
) -> Built:
    """Train a vocabulary on text files (patterns are allowed) and write it as a tokenizer directory.

    *limit*: documents read at most; *column*: where the text is, in files that have several. Memory does not grow with
    the files. Raises BraidError for missing files, no text, and a folder that is there already."""
    if out.exists() and not overwrite:
        raise BraidError(f"{out} is there already: use --overwrite to replace it, or another --out")
    sources = _sources(files)
    columns = {} if column is None else {"text": column}

    def read() -> Iterator[str]:
        """The lines of all documents."""
        documents = itertools.islice(Documents(sources, columns), limit)
        return (line for document in documents for line in document.split("\n"))

    with counting() as told:

        def counted() -> Iterator[str]:
            characters = 0
            for number, line in enumerate(read(), 1):
                characters += len(line)
                if number % 10_000 == 0:
                    told(f"reading: {characters:,} characters", characters, None)
                yield line

        tokenizer = train(kind, counted, size=size, lowercase=lowercase, min_frequency=min_frequency)
    _write(tokenizer, out, kind)
    sample = list(itertools.islice(read(), SAMPLE))
    ids = tokenizer.encode_ids(sample)
    total = sum(len(row) for row in ids) or 1
    unknown = sum(int((row == tokenizer.unk_id).sum()) for row in ids) if tokenizer.unk_id is not None else 0
    return Built(
        tokenizer,
        tokenizer.vocab_size,
        unknown / total,
        sum(map(len, sample)) / total,
        sample[0][:60],
        tuple(_readable(tokenizer, tokenizer.encode_ids([sample[0][:60]])[0].tolist())),
    )


def _readable(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Tokens as people read them: those of a byte-level vocabulary are spelt in other letters."""
    names = tokenizer.tokens(ids)
    if tokenizer.rust.decoder is None:
        return names
    return [tokenizer.decode([number]).strip() or name for number, name in zip(ids, names, strict=True)]


def _sources(files: Sequence[str]) -> list[Source]:
    """A source for each file. Raises BraidError naming all that are not there."""
    missing = [name for name in files if not os.path.exists(name) and not glob.glob(name, recursive=True)]
    if missing:
        raise BraidError(f"there is no file {', '.join(map(repr, missing))} in {os.getcwd()}")
    out: list[Source] = []
    for name in files:
        try:
            source = SourceConfig.choose({"path": name})
        except ValueError:
            source = SourceConfig.choose({"type": "lines", "path": name})
        assert isinstance(source, Source)
        out += source.each()
    return out


def _write(tokenizer: Tokenizer, out: Path, kind: VocabularyType) -> None:
    """The tokenizer's files, whole or not at all."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        tokenizer.save(temporary)
        if kind in LISTED:
            tokens = sorted(tokenizer.rust.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
            (temporary / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in tokens), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
