"""`metrics.jsonl`: a line for each log step and each evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braid.checkpoint.files import write_bytes

METRICS = "metrics.jsonl"


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line, and when that was."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n")


def forget_after(path: Path, step: int) -> None:
    """Take out of a log what is about to happen again."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        write_bytes(path, b"".join(line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step))
