"""What Braid says when something is wrong: what, where, and what to do.

Every error that a user can cause is a `BraidError`; the command line prints its message without a
traceback and exits with 2. Where there can be several problems, one error carries them all.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class BraidError(Exception):
    """An error in what the user gave: a recipe, a file, a row, a run directory. Exit code 2."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a file that the user can open. `line` and `column` count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: `what` it is, `place` and dotted `key` where, `todo` what to do about it.

    *path*: the key's parts, for who knows the lines of a file."""

    what: str
    place: Place | None = None
    key: str | None = None
    todo: str | None = None
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        where = ": ".join(str(part) for part in (self.place, self.key) if part)
        head = f"{where}: {self.what}" if where else self.what
        return f"{head}\n    {self.todo}" if self.todo else head


class ProblemsError(BraidError):
    """Several problems at once. `problems` holds them; at most `shown` are printed, the rest are counted."""

    shown = 40

    def __init__(self, problems: Sequence[Problem], *, title: str | None = None) -> None:
        if not problems:
            raise AssertionError("a ProblemsError needs at least one problem")
        self.problems = list(problems)
        self.title = title
        lines = [title] if title else []
        lines += [str(problem) for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"... and {len(self.problems) - self.shown} more problems")
        super().__init__("\n".join(lines))


class RecipeError(ProblemsError):
    """A recipe (or an override of it) is wrong."""


class ChainError(BraidError, ValueError):
    """A chain does not follow the grammar. `position` is the offset in `chain` that the caret points at."""

    def __init__(self, message: str, *, chain: str, position: int) -> None:
        self.chain, self.position, self.reason = chain, position, message
        super().__init__(f"{message}\n{pointed(chain, position)}")


class DataError(ProblemsError):
    """Data files are missing, unreadable or hold rows that cannot be used."""


class LabelError(BraidError):
    """A label does not fit its task. Raised by a task's `encode`; who knows the row adds the place."""


class SkippedLabelError(Exception):
    """A label that nothing can be learned from or compared with, though it is no mistake of the user's (an answer that
    does not stand where it should). Its row goes without it; how many did, and why (`reason`), is reported."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RunDirectoryError(BraidError):
    """A run directory (or a part of it) is missing, incomplete or does not fit."""


class PluginError(BraidError):
    """Two variants with one name, or a plugin that cannot be imported."""


def pointed(text: str, position: int) -> str:
    """The line of `text` that holds the character at `position`, with a caret below it, both indented by four."""
    start = max(text.rfind(end, 0, position) for end in "\r\n") + 1
    line = "".join(" " if character.isspace() else character for character in text[start:].split("\n")[0].rstrip())
    # A Chinese character takes two columns of a terminal, an accent that follows its letter none.
    before = line[: position - start].ljust(position - start)
    columns = sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in before
    )
    return f"    {line}\n    {' ' * columns}^"


def shown(value: object, *, limit: int = 60) -> str:
    """A value for a message as a recipe would write it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        text = f"a mapping ({', '.join(map(str, value))})" if value else "an empty mapping"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(shown(item) for item in value)}]"
    else:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word nearest to a misspelt one, or None when nothing is near."""
    options = list(allowed)
    close = difflib.get_close_matches(str(word), options, n=1, cutoff=0.6)
    if close:
        return close[0]
    folded = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(word).lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'?` with the nearest spelling, or the list of what is allowed."""
    options = sorted(allowed)
    near = nearest(word, options)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"allowed: {', '.join(options)}" if options else "nothing is allowed here"


class Interrupted(Exception):
    """Training was stopped by a signal, or by its time limit (`number` None); everything up to the last step is saved
    in `directory`."""

    def __init__(
        self, number: int | None, directory: str, *, go_on: str = "Go on with the same command and --resume"
    ) -> None:
        self.number, self.directory = number, directory
        why = "stopped" if number is not None else "the time of train.max_minutes is over"
        super().__init__(f"{why}; everything is saved in {directory}. {go_on}")

    @property
    def code(self) -> int:
        """The exit code: 128 + the signal's number, as shells count; 124 for a time limit, as `timeout` does."""
        return 124 if self.number is None else 128 + self.number
