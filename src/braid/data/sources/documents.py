"""Text files that hold documents: one sentence a line with blank lines between them, or WikiExtractor's output."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import Problems, lines

_OPEN = re.compile(r"<doc\b[^>]*>\s*")


class Documents(FileSource):
    """Documents with one sentence a line and a blank line between two (BERT's and UER's corpora)."""

    type: Literal["documents"] = "documents"

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row a document; its `text` has a line for each sentence."""
        sentences: list[str] = []
        first = 0
        for number, line in lines(self.path, self.encoding):
            if line.strip():
                first = first if sentences else number
                sentences.append(line.strip())
            elif sentences:
                yield SourceRow(fields={"text": "\n".join(sentences)}, line=first, file=self.path)
                sentences = []
        if sentences:
            yield SourceRow(fields={"text": "\n".join(sentences)}, line=first, file=self.path)


class Wiki(FileSource):
    """What WikiExtractor writes: `<doc id= url= title=>`, paragraphs, `</doc>`."""

    type: Literal["wiki"] = "wiki"

    titles: bool = False
    """Whether the title, which is the first line of a document, is kept as text."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row a document, its paragraphs joined by spaces. Raises DataError for text outside of documents and for
        documents that do not end."""
        problems = Problems(self.path)
        paragraphs: list[str] | None = None
        opened = 0
        for number, line in lines(self.path, self.encoding):
            text = line.strip()
            if _OPEN.match(text):
                if paragraphs is not None:
                    problems.add(f"<doc> inside the document that began in line {opened}", line=number)
                paragraphs, opened = [], number
                text = _OPEN.sub("", text, count=1)
            ended = text.endswith("</doc>")
            text = html.unescape(text.removesuffix("</doc>").strip())
            if text and paragraphs is None:
                problems.add("text outside of <doc> ... </doc>; is it a file of WikiExtractor's?", line=number)
                problems.finish()
            if text and paragraphs is not None:
                paragraphs.append(text)
            if ended and paragraphs is not None:
                yield SourceRow(fields={"text": self._joined(paragraphs)}, line=opened, file=self.path)
                paragraphs = None
        if paragraphs is not None:
            problems.add("the document does not end: </doc> is missing", line=opened)
        problems.finish()

    def _joined(self, paragraphs: list[str]) -> str:
        # The title stands alone in the first line, which is all that tells it from text.
        return " ".join(paragraphs if self.titles else paragraphs[1:])
