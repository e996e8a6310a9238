"""CLUENER2020: entities as JSON, by type and surface, with inclusive ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.sources.jsonl import Jsonl
from braid.data.textfile import Problems, shown


class Cluener(FileSource):
    """JSON lines: `text` and `label: {TYPE: {SURFACE: [[start, end inclusive], ...]}}`, made a list of spans."""

    type: Literal["cluener"] = "cluener"

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line; `label` is `[{"start", "end" (exclusive), "label"}]` in order of start, absent where the
        line has none. Raises DataError where a surface is not what the text has at its place."""
        problems = Problems(self.path)
        for row in Jsonl(path=self.path, encoding=self.encoding).rows(split):
            fields = dict(row.fields)
            label = fields.pop("label", None)
            if label is not None:
                before = len(problems.found)
                fields["label"] = _spans(fields.get("text"), label, row.line, problems)
                if len(problems.found) > before:
                    continue
            yield SourceRow(fields=fields, line=row.line, file=self.path)
        problems.finish()


def _spans(text: Any, label: Any, line: int, problems: Problems) -> list[dict[str, Any]]:
    found: list[tuple[int, int, str]] = []
    try:
        for kind, surfaces in label.items():
            for surface, places in surfaces.items():
                for start, last in places:
                    if not 0 <= start <= last < len(text) or text[start : last + 1] != surface:
                        problems.add(
                            f"{kind} {shown(surface)} is said to be at {start}..{last}, "
                            f"but there the text has {shown(text[max(start, 0) : last + 1])}",
                            line=line,
                        )
                    found.append((start, last + 1, str(kind)))
    except (AttributeError, TypeError, ValueError):
        problems.add("`label` is not {type: {surface: [[start, end], ...]}}, or `text` is no string", line=line)
    return [{"start": start, "end": end, "label": kind} for start, end, kind in sorted(found)]
