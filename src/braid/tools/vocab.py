"""`braid vocab build`: a vocabulary from files of text, and how well it fits them."""

from __future__ import annotations

import glob
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import get_args

from braid.checkpoint.files import replace_directory
from braid.config.families import SourceConfig
from braid.data.corpus.documents import Documents, pieces
from braid.data.progress import counting
from braid.data.sources.base import FileSource
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import VocabularyType, train
from braid.errors import BraidError, did_you_mean

SAMPLE = 1000
"""Documents that are tokenised to say how well a vocabulary fits, drawn from all."""

LONGEST = 5000
"""Characters of each of them that are kept."""

SHOWN = 20
"""Tokens that are shown."""

LISTED = ("wordpiece", "character", "word")
"""Kinds whose tokens are a plain list, which vocab.txt can hold."""

_OURS = frozenset({"tokenizer.json", "tokenizer_config.json", "vocab.txt"})


@dataclass(frozen=True)
class Built:
    """What was made of how many documents. *unknown*: share of tokens that are [UNK], and *characters* that a token
    stands for, in a sample of the texts; *tokens*: the first of a text of it."""

    directory: Path
    kind: VocabularyType
    tokenizer: Tokenizer
    documents: int
    unknown: float
    characters: float
    tokens: tuple[str, ...]

    @property
    def size(self) -> int:
        """Tokens of the vocabulary, special ones included."""
        return self.tokenizer.vocab_size


@dataclass
class Corpus:
    """The lines of files, streamed anew for each reading. The first whole reading counts the *documents* and draws the
    *sample*. *told*: hears what is being done, how much is done, and of how much."""

    sources: Sequence[FileSource]
    columns: dict[str, str]
    limit: int | None
    told: Callable[[str, int, int | None], None]
    documents: int | None = None
    sample: list[str] = field(default_factory=list)

    def read(self) -> Iterator[str]:
        """Each line of every document."""
        drawn: list[str] = []
        chance, number = random.Random(1), 0
        doing = "reading" if self.documents is None else "counting"
        for number, document in enumerate(islice(Documents(self.sources, self.columns), self.limit), 1):
            if number % 5000 == 0:
                self.told(f"{doing}: {number:,} documents", number, self.documents)
            if len(drawn) < SAMPLE:
                drawn.append(document[:LONGEST])
            elif (place := chance.randrange(number)) < SAMPLE:
                drawn[place] = document[:LONGEST]
            for line in document.split("\n"):
                yield from pieces(line)
        self.documents, self.sample = number, drawn
        self.told("training", number, None)


def build_vocab(
    files: Sequence[str],
    out: Path,
    *,
    kind: VocabularyType = "wordpiece",
    size: int = 21128,
    lowercase: bool | None = None,
    min_frequency: int = 2,
    limit: int | None = None,
    column: str | None = None,
    overwrite: bool = False,
) -> Built:
    """Train a vocabulary on files of text (names or patterns) and write it as a tokenizer directory: `encoder.vocab` of
    a recipe, or `AutoTokenizer.from_pretrained`.

    The files are streamed. *lowercase*: None: for all kinds but bpe; *min_frequency*: how often characters, words and
    pairs of pieces must occur; *limit*: documents that are read; *column*: where the text is, in files that have
    several. Raises BraidError for files that are missing or cannot be read, no text, a `size` that the characters alone
    exceed, and a directory that is there already."""
    if kind not in get_args(VocabularyType):
        raise BraidError(f"--type {kind}: {did_you_mean(kind, get_args(VocabularyType))}")
    _check_out(out, overwrite=overwrite)
    sources = text_sources(files)
    columns = {} if column is None else {"text": column}
    with counting() as told:
        corpus = Corpus(sources, columns, limit, told)
        tokenizer = train(kind, corpus.read, size=size, lowercase=lowercase, min_frequency=min_frequency)
    if tokenizer.vocab_size > size:
        needed = f"special tokens and {'bytes' if kind == 'bpe' else 'characters'} alone need {tokenizer.vocab_size:,}"
        rarer = "" if kind == "bpe" else ", or leave rare characters out with a higher --min-frequency"
        raise BraidError(f"a vocabulary of {size:,} tokens is too small: {needed}; give --size that{rarer}")
    replace_directory(out, lambda folder: _write(tokenizer, folder, kind))
    unknown, characters, tokens = _fit(tokenizer, corpus.sample)
    return Built(out, kind, tokenizer, corpus.documents or 0, unknown, characters, tokens)


def _fit(tokenizer: Tokenizer, sample: Sequence[str]) -> tuple[float, float, tuple[str, ...]]:
    """Share of unknown tokens, characters a token, and the first tokens of the first text that has enough of them."""
    rows = tokenizer.encode_ids(sample)
    total = sum(map(len, rows)) or 1
    unknown = sum(int((row == tokenizer.unk_id).sum()) for row in rows)
    shown = next((k for k, row in enumerate(rows) if len(row) >= SHOWN), None)
    if shown is None:
        shown = max(range(len(rows)), key=lambda k: len(rows[k]))
    tokens = next(tokenizer.encode_batch([sample[shown]]))
    spans = tokens.offsets[:SHOWN].tolist()
    names = tokenizer.tokens(tokens.ids[:SHOWN].tolist())
    if tokenizer.rust.get_vocab().get("Ġ") is not None:
        # Byte-level vocabularies spell what is not ASCII in other letters.
        names = [sample[shown][a:b] or name for name, (a, b) in zip(names, spans, strict=True)]
    return unknown / total, sum(map(len, sample)) / total, tuple(names)


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise BraidError(f"{out} is there already: use --overwrite to replace it, or another --out")
    if not out.is_dir() or not {path.name for path in out.iterdir()} <= _OURS:
        raise BraidError(f"{out} is not replaced: it is no directory that holds a vocabulary only")


def text_sources(files: Sequence[str]) -> list[FileSource]:
    """A source for each file. Raises BraidError naming all that are not there."""
    found = {name: _matching(name) for name in files}
    if missing := [name for name, paths in found.items() if not paths]:
        raise BraidError(f"there is no file {', '.join(map(repr, missing))} (looked in {os.getcwd()})")
    return [_source(path) for paths in found.values() for path in paths]


def _matching(name: str) -> list[str]:
    if os.path.isdir(name):
        raise BraidError(f"{name} is a directory; name its files, as {os.path.join(name, '*.txt')!r}")
    if os.path.exists(name):
        return [name]
    return sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))


def _source(path: str) -> FileSource:
    try:
        source = SourceConfig.choose({"path": path})
    except ValueError:
        # Whatever else it is called, it is text.
        source = SourceConfig.choose({"type": "lines", "path": path})
    if not isinstance(source, FileSource):
        raise BraidError(f"{path}: a {source.type} source is no file of text")
    return source


def _write(tokenizer: Tokenizer, folder: Path, kind: VocabularyType) -> None:
    tokenizer.save(folder)
    if kind in LISTED:
        ids = tokenizer.rust.get_vocab(with_added_tokens=True)
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__)), "utf-8")
