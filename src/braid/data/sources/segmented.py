"""Segmented text, as in the SIGHAN bakeoffs: words with spaces between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import lines

_SPACES = re.compile(r"[ \t\r\f\v\u3000]+")


class Segmented(FileSource):
    """One sentence a line, its words separated by spaces: `words` are the characters, `label` their BMES tags."""

    type: Literal["segmented"] = "segmented"

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per line that is not blank, with `text` (the line without its spaces), `words` and `label`."""
        for number, line in lines(self.path, self.encoding):
            words = [word for word in _SPACES.split(line) if word]
            if words:
                text = "".join(words)
                tags = [tag for word in words for tag in bmes(len(word))]
                yield SourceRow(fields={"text": text, "words": list(text), "label": tags}, line=number, file=self.path)


def bmes(length: int) -> list[str]:
    """The tags of one word of `length` characters: S, or B, M's and E."""
    return ["S"] if length == 1 else ["B", *["M"] * (length - 2), "E"]
