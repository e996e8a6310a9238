"""Whether a tokenizer from elsewhere can be trusted to end: its patterns may backtrack for hours on a harmless text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tokenizers import Tokenizer as RustTokenizer

from braid.errors import BraidError

LENGTH = 2000
LIMIT = 5.0
"""Seconds that the probes may take; usual tokenizers take a few milliseconds for all of them."""

SPARE = 10_000
"""Ids that may be left free, above twice the number of tokens."""

PROBES = tuple(
    (part * LENGTH)[:LENGTH] + end
    for part in ("a", "A", "ab", "a ", " ", "1", ".", "\n", "啊", "aA1 .")
    for end in "!aé"
)
"""Long runs of one kind with something else behind: what patterns with nested repetitions stumble over."""


def check_patience(rust: RustTokenizer, where: object) -> None:
    """Raises BraidError for a tokenizer whose own patterns fail on a simple text, or take longer than `LIMIT`; and for
    one with an id far beyond its number of tokens (each id up to the largest costs memory and time)."""
    ids = rust.get_vocab(with_added_tokens=True).values()
    if max(ids, default=0) > 2 * len(ids) + SPARE:
        raise BraidError(f"{where}: it has an id {max(ids):,} though it has only {len(ids):,} tokens: it is refused")
    if '"Regex"' not in rust.to_str():
        return
    failed: list[BaseException] = []

    def probe() -> None:
        try:
            with panics(where):
                rust.encode_batch_fast(list(PROBES), add_special_tokens=False)
        except BaseException as error:  # a Rust panic is no Exception
            failed.append(error)

    # A thread, since a search that does not end cannot be stopped: it is left behind.
    thread = threading.Thread(target=probe, daemon=True, name="braid-probe")
    thread.start()
    thread.join(LIMIT)
    if thread.is_alive():
        raise BraidError(
            f"{where}: its patterns take more than {LIMIT:.0f} seconds for texts of {LENGTH} characters: it is refused"
        )
    if failed:
        raise failed[0]


@contextmanager
def panics(where: object) -> Iterator[None]:
    """Turn a panic of the Rust tokenizer, which is no Exception, into a BraidError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise BraidError(f"{where}: the tokenizer failed on a text: {error}") from error
