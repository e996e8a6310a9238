"""Rows that share no input with those of the small recipe."""

from __future__ import annotations

import json
from pathlib import Path


def write_other(folder: Path) -> Path:
    path = folder / "other.jsonl"
    path.write_text("".join(json.dumps({"text": f"else {k}", "mood": "ab"[k % 2]}) + "\n" for k in range(8)))
    return path
