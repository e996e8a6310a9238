"""Examples -> token rows, through the cache, in parallel processes where there is enough to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

import pyarrow as pa

from braid.data.cache import TokenRows, cache_key, record_batch, write
from braid.data.example import Example
from braid.data.token_worker import read_message, start, write_message
from braid.data.tokens import Tokenizer
from braid.data.windows import WindowOptions, tokenise
from braid.errors import BraidError

CHUNK = 2048
PARALLEL_FROM = 3_000_000
"""Characters below which starting processes takes longer than it saves."""


def prepare(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    options: WindowOptions,
    *,
    cache: Path | None,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> TokenRows:
    """The token rows of examples. *cache*: folder for memory-mapped files, None: kept in memory. *workers*: processes,
    None: one for each core where the texts are long enough to be worth it. *progress* is told examples done."""
    n = _workers(examples, workers)
    path = None
    if cache is not None:
        path = cache / f"{cache_key(examples, tokenizer, options)}.arrow"
        if path.is_file():
            return TokenRows.open(path)
    batches = _in_processes(examples, tokenizer, options, n) if n > 1 else _here(examples, tokenizer, options)
    counted = _counted(batches, progress)
    if path is None:
        return TokenRows(list(counted))
    write(path, counted)
    return TokenRows.open(path)


def _workers(examples: Sequence[Example], workers: int | None) -> int:
    if workers is not None:
        return max(1, workers)
    size = sum(len(example.text) + len(example.pair or "") for example in examples)
    return len(os.sched_getaffinity(0)) if size >= PARALLEL_FROM and hasattr(os, "sched_getaffinity") else 1


def _counted(batches: Iterator[pa.RecordBatch], progress: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        if batch.num_rows:
            progress(batch.column("example")[-1].as_py() + 1)


def _chunks(examples: Sequence[Example]) -> Iterator[tuple[int, Sequence[Example]]]:
    for first in range(0, len(examples), CHUNK):
        yield first, examples[first : first + CHUNK]


def _here(examples: Sequence[Example], tokenizer: Tokenizer, options: WindowOptions) -> Iterator[pa.RecordBatch]:
    for first, chunk in _chunks(examples):
        yield record_batch(first, list(tokenise(chunk, tokenizer, options)))


def _in_processes(
    examples: Sequence[Example], tokenizer: Tokenizer, options: WindowOptions, n: int
) -> Iterator[pa.RecordBatch]:
    """Chunks dealt to `n` processes, results in order. A thread talks to each; at most 2n chunks are under way."""
    setup = json.dumps({"tokenizer": tokenizer.rust.to_str(), "options": asdict(options)}).encode()
    processes = start("braid.data.token_worker", n, setup)
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def work(first: int, chunk: Sequence[Example]) -> pa.RecordBatch:
        process = idle.get()
        try:
            return _ask(process, first, chunk)
        finally:
            idle.put(process)

    try:
        with ThreadPoolExecutor(n) as pool:
            waiting: list[Future[pa.RecordBatch]] = []
            for first, chunk in _chunks(examples):
                waiting.append(pool.submit(work, first, chunk))
                if len(waiting) >= 2 * n:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _ask(process: subprocess.Popen[bytes], first: int, chunk: Sequence[Example]) -> pa.RecordBatch:
    assert process.stdin is not None
    assert process.stdout is not None
    rows = [[example.text, example.pair, example.words, example.options] for example in chunk]
    where = f"rows {chunk[0].place} to {chunk[-1].place}"
    try:
        write_message(process.stdin, json.dumps([first, rows]).encode())
        answer = read_message(process.stdout)
    except OSError:
        answer = None
    if answer is None:
        raise BraidError(f"a tokenising process died on {where} (exit code {process.poll()}); try train.workers=1")
    if answer[:1] == b"-":
        raise BraidError(f"{where}: {answer[1:].decode()}")
    return pa.ipc.open_stream(pa.py_buffer(answer[1:])).read_next_batch()
