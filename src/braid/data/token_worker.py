"""A tokenising process: reads chunks of examples from stdin, writes Arrow record batches to stdout.

Started as `python -m braid.data.token_worker`, never forked: a fork would inherit the threads of torch and of the
tokenizer, and `multiprocessing`'s other ways would run the user's script a second time.
Messages are length-prefixed (8 bytes, little endian): first the set-up, then a chunk each; an answer begins with
`+` (an Arrow stream) or `-` (an error message).
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import IO

import pyarrow as pa
from tokenizers import Tokenizer as RustTokenizer

from braid.data.cache import record_batch
from braid.data.example import Example
from braid.data.tokens import Tokenizer
from braid.data.windows import WindowOptions, tokenise
from braid.errors import BraidError


def write_message(stream: IO[bytes], content: bytes) -> None:
    """One length-prefixed message."""
    stream.write(struct.pack("<Q", len(content)))
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message, or None at the end of the stream."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    content = stream.read(size)
    return content if len(content) == size else None


def start(module: str, n: int, setup: bytes) -> list[subprocess.Popen[bytes]]:
    """`n` processes that run a module and have read their set-up. Ctrl-C in a terminal does not reach them: who started
    them ends them."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", module]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0)
        for _ in range(n)
    ]
    for process in processes:
        assert process.stdin is not None
        write_message(process.stdin, setup)
    return processes


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    setup = read_message(source)
    if setup is None:
        return
    given = json.loads(setup)
    tokenizer = Tokenizer(RustTokenizer.from_str(given["tokenizer"]))
    how = WindowOptions(**given["options"])
    while (message := read_message(source)) is not None:
        first, rows = json.loads(message)
        examples = [
            Example(text, pair, words and tuple(words), options=options and tuple(options))
            for text, pair, words, options in rows
        ]
        try:
            batch = record_batch(first, list(tokenise(examples, tokenizer, how)))
        except BraidError as error:
            write_message(sink, b"-" + str(error).encode("utf-8", "replace"))
            continue
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, batch.schema) as writer:
            writer.write_batch(batch)
        write_message(sink, b"+" + buffer.getvalue().to_pybytes())


if __name__ == "__main__":
    main()
