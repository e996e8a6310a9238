"""A process that prepares parts of a corpus: chunks of documents from stdin, what each part holds to stdout.

Started as `python -m braid.data.corpus.worker`; messages as in `braid.data.token_worker`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer

from braid.data.corpus.shards import write_part
from braid.data.corpus.tokenise import part_of, sentence_ends
from braid.data.token_worker import read_message, write_message
from braid.data.tokens import Tokenizer
from braid.errors import BraidError


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    setup = read_message(source)
    if setup is None:
        return
    given = json.loads(setup)
    tokenizer = Tokenizer(RustTokenizer.from_str(given["tokenizer"]))
    folder, ends_V = Path(given["folder"]), sentence_ends(tokenizer)
    while (message := read_message(source)) is not None:
        number, documents = json.loads(message)
        try:
            held = write_part(folder, number, part_of(documents, tokenizer, ends_V, words=given["words"]))
        except (BraidError, OSError) as error:
            write_message(sink, b"-" + str(error).encode("utf-8", "replace"))
            continue
        write_message(sink, b"+" + json.dumps(held).encode())


if __name__ == "__main__":
    main()
