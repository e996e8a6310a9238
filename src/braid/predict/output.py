"""Where predictions are written: a file that is whole or not there, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from braid.errors import BraidError


def check_output(output: Path, *, source: str) -> None:
    """Raises BraidError for a folder that is not there, a name that is a folder's, and the file that is read itself."""
    if not output.parent.is_dir():
        raise BraidError(f"--output {output}: there is no folder {output.parent.resolve()}")
    if output.is_dir():
        raise BraidError(f"--output {output}: this is a folder; name a file")
    if output.exists() and os.path.exists(source) and os.path.samefile(output, source):
        raise BraidError(f"--output {output} is the file that is read: choose another name")


@contextmanager
def written(output: Path | None, *, source: str) -> Iterator[IO[str]]:
    """A text file to write to, which takes the place of *output* when all went well; standard output where that is None
    or `-`. *source*: the file that is read.

    Raises BraidError as `check_output`."""
    if output is None or str(output) == "-":
        yield sys.stdout
        return
    check_output(output, source=source)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
