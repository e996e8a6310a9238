"""Corpus -> token shards: chunks of documents dealt to processes, each of which writes whole parts.

What is there already is not done again, so an interrupted preparation goes on where it was; several machines may
prepare each a share of the chunks of one corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from braid.data.corpus import shards
from braid.data.corpus.documents import CHUNK_CHARACTERS, Documents, chunks
from braid.data.corpus.tokenise import Words, part_of, sentence_ends
from braid.data.sources.base import Source
from braid.data.token_worker import read_message, start, write_message
from braid.data.tokens import Tokenizer
from braid.errors import BraidError, DataError, Problem


@dataclass(frozen=True)
class Share:
    """Which of the chunks to prepare: those whose number, divided by *count*, leaves *number* - 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """`3/8` is the third of eight. Raises BraidError."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise BraidError(f"shard {text!r}: write it as 3/8, the third of eight")
        return cls(int(match[1]), int(match[2]))

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is of this share."""
        return chunk % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Progress:
    """How far a preparation is: *done* of *total* bytes (None: not known), *tokens*, *seconds* since the start."""

    done: int
    total: int | None
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Options:
    """What parts depend on beside text and tokenizer. *words*: who says where words begin."""

    words: Words = "none"
    chunk: int = CHUNK_CHARACTERS


def corpus_key(sources: Sequence[Source], columns: dict[str, Any], tokenizer: Tokenizer, options: Options) -> str:
    """sha256 over the files, what is read of them, the tokenizer and the options."""
    digest = hashlib.sha256()
    head = {"format": shards.FORMAT, "tokenizer": tokenizer.sha256, "words": options.words, "chunk": options.chunk}
    digest.update(json.dumps([head, columns], sort_keys=True).encode())
    for source in sources:
        described = source.model_dump(mode="json", exclude={"path"} if source.columns else {"path", "columns"})
        digest.update(json.dumps([described, source.fingerprint("train")], sort_keys=True).encode())
    return digest.hexdigest()


def prepare_corpus(
    sources: Sequence[Source],
    columns: dict[str, Any],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    options: Options = Options(),
    share: Share = Share(),
    workers: int | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Fill `folder` with the token shards of a corpus and return its index; nothing is done where they are there.

    *workers*: processes, None: one for each core where there is enough to do. Memory does not grow with the corpus.
    Raises DataError for a corpus without text, BraidError for a folder of another tokenizer."""
    index = shards.read_index(folder)
    if index is not None:
        return index
    folder.mkdir(parents=True, exist_ok=True)
    documents = Documents(sources, columns)
    began, tokens = time.monotonic(), 0
    todo = _Todo(documents, folder, share, options.chunk, _bytes(sources))
    n = workers or (_cores() if todo.total is None or todo.total >= options.chunk else 1)
    run = _in_processes if n > 1 else _here
    for held in run(todo, tokenizer, folder, options, n):
        tokens += held["tokens"]
        progress(Progress(todo.done, todo.total, tokens, time.monotonic() - began))
    if todo.chunks == 0:
        files = ", ".join(file for source in sources for file in source.files()) or "the corpus"
        raise DataError([Problem(what=f"{files}: there is no text in it")])
    totals: dict[str, int] = {"tokens": 0, "sentences": 0, "documents": 0}
    for number in shards.numbers(folder):
        found = shards.held(folder, number) or {}
        totals = {key: value + int(found.get(key, 0)) for key, value in totals.items()}
    content = {"tokenizer": tokenizer.sha256, "words": options.words, "share": str(share), "chunks": todo.chunks}
    shards.write_index(folder, {**content, **totals, "left_out": documents.left_out})
    return shards.read_index(folder) or {}


class _Todo:
    """The chunks that are still to be prepared, streamed; counts all it reads."""

    def __init__(self, documents: Documents, folder: Path, share: Share, size: int, total: int | None) -> None:
        self.documents, self.folder, self.share, self.size, self.total = documents, folder, share, size, total
        self.done = self.chunks = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for number, chunk in enumerate(chunks(self.documents, self.size)):
            self.chunks += 1
            if self.share.holds(number) and shards.held(self.folder, number) is None:
                yield number, chunk
            if self.total is not None:
                self.done += sum(len(document.encode("utf-8", "replace")) + 1 for document in chunk)


def _bytes(sources: Sequence[Source]) -> int | None:
    """Bytes of all files; None where one is compressed or no file, so that nobody knows."""
    total = 0
    for source in sources:
        for path in source.files() or [""]:
            if not os.path.isfile(path) or path.endswith((".gz", ".parquet", ".arrow")):
                return None
            total += os.path.getsize(path)
    return total


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(todo: _Todo, tokenizer: Tokenizer, folder: Path, options: Options, n: int) -> Iterator[dict[str, int]]:
    ends_V = sentence_ends(tokenizer)
    for number, documents in todo:
        yield shards.write_part(folder, number, part_of(documents, tokenizer, ends_V, words=options.words))


def _in_processes(
    todo: _Todo, tokenizer: Tokenizer, folder: Path, options: Options, n: int
) -> Iterator[dict[str, int]]:
    """A thread talks to each process; at most n + 1 chunks are under way, so memory stays flat."""
    setup = json.dumps({"tokenizer": tokenizer.rust.to_str(), "folder": str(folder), "words": options.words}).encode()
    processes = start("braid.data.corpus.worker", n, setup)
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def work(number: int, documents: list[str]) -> dict[str, int]:
        process = idle.get()
        try:
            return _ask(process, number, documents)
        finally:
            idle.put(process)

    try:
        with ThreadPoolExecutor(n) as pool:
            waiting: list[Future[dict[str, int]]] = []
            for number, documents in todo:
                waiting.append(pool.submit(work, number, documents))
                if len(waiting) > n:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _ask(process: subprocess.Popen[bytes], number: int, documents: list[str]) -> dict[str, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        write_message(process.stdin, json.dumps([number, documents]).encode())
        answer = read_message(process.stdout)
    except OSError:
        answer = None
    if answer is None:
        raise BraidError(
            f"a process that prepares the corpus died on chunk {number}, which begins {documents[0][:40]!r} (exit code "
            f"{process.poll()}; out of memory?). What is done is kept; run it again with fewer train.workers"
        )
    if answer[:1] == b"-":
        raise BraidError(f"chunk {number} of the corpus: {answer[1:].decode()}")
    found: dict[str, int] = json.loads(answer[1:])
    return found
