"""CoNLL-U in and out: sentences of a treebank as inputs, predicted tags and trees as a treebank.

The format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from braid.data.example import Example
from braid.data.sources.conll import Conllu
from braid.data.units import join_words, locate_words, split_words
from braid.errors import Place
from braid.predict.inputs import example_of
from braid.predict.results import Result

if TYPE_CHECKING:
    from braid.model.network import TaskSpec

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
"""What ends a column or, for some reader, a line."""


def examples(path: str) -> Iterator[Example]:
    """The sentences of a CoNLL-U file as inputs, streaming: their words, and their `# text` where the words stand in
    it one after the other (else the words joined). Raises DataError with file:line for broken sentences."""
    for row in Conllu(path=path).rows("predict"):
        given: dict[str, Any] = {"words": row.fields["words"], "text": row.fields.get("text")}
        yield example_of(given, place=Place(file=row.file, line=row.line))


def to_conllu(result: Result, tasks: Mapping[str, TaskSpec]) -> str:
    """A result as a CoNLL-U sentence, the blank line at its end included; "" for a text without words.

    UPOS is of the task called `upos` or `pos`, else of the first that gives each word a plain tag; XPOS of one called
    `xpos`; HEAD and DEPREL of the first that gives each word a head. What no task says is `_`. Words are those of the
    input, or those that its text divides into.
    """
    text, words, spans = _words(result)
    if not words:
        return ""
    heads, relations = _tree(result, tasks, len(words))
    tags = _tags(result, tasks, len(words))
    named = [name for name in ("upos", "pos") if name in tags]
    upos = next((tags[name] for name in (*named, *tags) if name != "xpos"), None)
    xpos = tags.get("xpos")
    lines = [f"# text = {_plain(text)}"]
    for k, word in enumerate(words):
        together = k + 1 < len(words) and spans[k][1] == spans[k + 1][0]
        columns = [
            str(k + 1),
            _plain(word),
            "_",
            upos[k] if upos is not None else "_",
            xpos[k] if xpos is not None else "_",
            "_",
            str(heads[k]) if heads is not None else "_",
            relations[k] if relations is not None else "_",
            "_",
            "SpaceAfter=No" if together else "_",
        ]
        lines.append("\t".join(columns))
    return "\n".join(lines) + "\n\n"


def _words(result: Result) -> tuple[str, Sequence[str], list[tuple[int, int]]]:
    """The text, its words, and where they stand in it."""
    if result.words is None:
        spans = [(int(a), int(b)) for a, b in split_words(result.text)]
        return result.text, [result.text[a:b] for a, b in spans], spans
    located = locate_words(result.text, result.words)
    text, places = (result.text, located) if located is not None else join_words(result.words)
    return text, result.words, [(int(a), int(b)) for a, b in places]


def _tree(
    result: Result, tasks: Mapping[str, TaskSpec], words: int
) -> tuple[Sequence[int] | None, Sequence[str] | None]:
    """Heads and relations of the words, of the first task that has some."""
    for name in tasks:
        prediction = result.get(name)
        heads, relations = getattr(prediction, "heads", None), getattr(prediction, "relations", None)
        if heads is not None and relations is not None and len(heads) == words:
            return heads, [_plain(relation) for relation in relations]
    return None, None


def _tags(result: Result, tasks: Mapping[str, TaskSpec], words: int) -> dict[str, list[str]]:
    """The tags of all tasks that give each word one which marks no spans."""
    out = {}
    for name, spec in tasks.items():
        tags = getattr(result.get(name), "tags", None)
        if tags is not None and len(tags) == words and spec.facts.get("scheme") == "plain":
            out[name] = [_plain(tag) for tag in tags]
    return out


def _plain(value: str) -> str:
    """A value that stays in its column: what would end it is a space."""
    return _BREAKS.sub(" ", value)
