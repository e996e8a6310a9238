"""Tagged text in two columns of a table, as UER-py keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.sources.delimited import Tsv
from braid.data.textfile import Problems


class UerNer(FileSource):
    """A tsv with columns `text_a` (tokens separated by spaces) and `label` (as many tags; may be left out)."""

    type: Literal["uer_ner"] = "uer_ner"

    header: bool | list[str] = True
    """As in `tsv`; without a header the first column holds the tokens, the second the tags."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line: `words` and, where the file has tags, `label`. Raises DataError where the counts differ."""
        problems = Problems(self.path)
        names = ["text_a", "label"]
        for row in Tsv(path=self.path, encoding=self.encoding, header=self.header).rows(split):
            cells = row.fields if self.header is not False else dict(zip(names, row.fields.values(), strict=False))
            if "text_a" not in cells:
                problems.add(
                    f"there is no column 'text_a', only {', '.join(map(repr, cells))}",
                    line=1,
                    todo="if the file has no header, add `header: false` to the source",
                )
                break
            fields: dict[str | int, object] = {key: value for key, value in cells.items() if key not in names}
            words = str(cells["text_a"]).split()
            fields["words"] = words
            if cells.get("label"):
                tags = str(cells["label"]).split()
                if len(tags) != len(words):
                    problems.add(f"{len(words)} tokens but {len(tags)} tags", line=row.line)
                    continue
                fields["label"] = tags
            yield SourceRow(fields=fields, line=row.line, file=self.path)
        problems.finish()
