"""The labels of a head whose file does not name them."""

from __future__ import annotations

import json
from pathlib import Path

from braid.data.textfile import lines
from braid.errors import BraidError


def read_labels(given: str) -> tuple[str, ...]:
    """`--labels`: names with commas; a file with one a line; a label2id JSON, or a list. Raises BraidError."""
    path = Path(given)
    if not path.is_file():
        names = tuple(part.strip() for part in given.split(","))
    elif path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise BraidError(f"{path} is not valid JSON: {error}") from error
        if isinstance(content, dict) and sorted(content.values()) == list(range(len(content))):
            names = tuple(sorted(content, key=lambda name: int(content[name])))
        elif isinstance(content, list) and all(isinstance(name, str) for name in content):
            names = tuple(content)
        else:
            raise BraidError(f"{path}: expected a list of labels, or labels with the numbers 0, 1, 2, ...")
    else:
        names = tuple(line.strip() for _, line in lines(given) if line.strip())
    if len(set(names)) < len(names) or "" in names:
        raise BraidError(f"--labels {given!r}: a label is empty or stands twice")
    return names
