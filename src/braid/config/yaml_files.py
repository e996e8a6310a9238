"""YAML with positions: every key knows its line, so that every problem can name it.

YAML 1.2 (ruamel.yaml): `5e-5` is a number and `no` is a string.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from braid.errors import Place, Problem, RecipeError, nearest

MAX_BYTES = 10_000_000
MAX_NODES = 100_000


@dataclass
class Positions:
    """Where each dotted key of a file stands; keys that overrides set stand in the override."""

    file: str
    lines: dict[str, tuple[int, int]] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)

    def find(self, key: str) -> Place | None:
        """The place of a key, or of the nearest key above it."""
        while key:
            if key in self.overrides:
                return Place(file=f"override '{self.overrides[key]}'")
            if key in self.lines:
                line, column = self.lines[key]
                return Place(file=self.file, line=line, column=column)
            key = key.rpartition(".")[0]
        return Place(file=self.file)


def read_yaml(file: Path) -> tuple[dict[str, Any], Positions]:
    """A YAML mapping and the positions of its keys. Raises RecipeError with file, line and column."""
    name = str(file)

    def fail(what: str, line: int | None = None, column: int | None = None, todo: str | None = None) -> RecipeError:
        return RecipeError([Problem(what=what, place=Place(file=name, line=line, column=column), todo=todo)])

    if file.is_dir():
        raise fail("this is a folder, not a recipe")
    if not file.is_file():
        near = nearest(file.name, os.listdir(file.parent)) if file.parent.is_dir() else None
        raise fail(f"there is no file {file.resolve()}" + (f"; did you mean {near!r}?" if near else ""))
    if file.stat().st_size > MAX_BYTES:
        raise fail(f"{file.stat().st_size:,} bytes is too large for a recipe")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
    try:
        data = YAML(typ="rt", pure=True).load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        raise fail(str(error.problem).split(" with value")[0], mark.line + 1, mark.column + 1) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        shown = f"\n    {line}\n    {' ' * mark.column}^" if mark else ""
        where = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise fail(f"not YAML: {error.problem or error.context}{shown}", *where) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise fail(f"not YAML: {error}") from None
    if data is None:
        raise fail("the file is empty", todo="a recipe needs at least `encoder:` and `tasks:`")
    if not isinstance(data, dict):
        raise fail(f"a recipe is a mapping (`tasks: ...`), this is a {type(data).__name__}", 1)
    positions = Positions(name)
    budget = [MAX_NODES]
    try:
        plain = _plain(data, "", positions, budget)
    except RecursionError:
        raise fail("nested too deeply") from None
    if budget[0] < 0:
        raise fail(f"more than {MAX_NODES:,} values (aliases counted each time): no recipe is that large")
    return plain, positions


def _plain(node: Any, key: str, positions: Positions, budget: list[int]) -> Any:
    """ruamel's containers as plain ones, each key's position noted."""
    budget[0] -= 1
    if budget[0] < 0:
        return None
    if isinstance(node, dict):
        out = {}
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            try:
                line, column = node.lc.key(name)  # type: ignore[attr-defined]
                positions.lines[inner] = (line + 1, column + 1)
            except (AttributeError, KeyError):
                pass
            out[str(name)] = _plain(value, inner, positions, budget)
        return out
    if isinstance(node, list):
        for number in range(len(node)):
            try:
                line, column = node.lc.item(number)  # type: ignore[attr-defined]
                positions.lines[f"{key}.{number}"] = (line + 1, column + 1)
            except (AttributeError, KeyError):
                pass
        return [_plain(item, f"{key}.{number}", positions, budget) for number, item in enumerate(node)]
    return _scalar(node)


def _scalar(node: Any) -> Any:
    """ruamel's own kinds of scalars (which remember how they were written) as Python's."""
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node if node is None else str(node)


def apply_overrides(data: dict[str, Any], positions: Positions, overrides: Iterable[str]) -> None:
    """Set `a.b.c=value` in a recipe's data; values are YAML. Raises RecipeError for what is no such thing."""
    problems = []
    yaml = YAML(typ="safe", pure=True)
    for text in overrides:
        key, sign, value = text.partition("=")
        place = Place(file=f"override {text!r}")
        if not sign or not key.strip():
            problems.append(Problem(what="write it as key=value", place=place, todo="for example train.lr=3e-5"))
            continue
        try:
            parsed = yaml.load(value) if value.strip() else None
        except YAMLError as error:
            problems.append(Problem(what=f"the value is not YAML: {str(error).splitlines()[0]}", place=place))
            continue
        problem = _set(data, key.strip().split("."), parsed)
        if problem:
            problems.append(Problem(what=problem, place=place))
        positions.overrides[key.strip()] = text
    if problems:
        raise RecipeError(problems, title="overrides are wrong:")


def _set(data: dict[str, Any], path: Sequence[str], value: Any) -> str | None:
    current: Any = data
    for depth, part in enumerate(path[:-1]):
        # A task's name may hold dots: take the longest stretch of the path that is a key.
        if not isinstance(current, dict):
            return f"{'.'.join(path[:depth])} is no mapping"
        if part not in current:
            for end in range(len(path) - 1, depth + 1, -1):
                if ".".join(path[depth:end]) in current:
                    return _set(current[".".join(path[depth:end])], path[end:], value)
            current[part] = {}
        elif current[part] is None:
            current[part] = {}
        elif isinstance(current[part], str | list) and part == "data":
            current[part] = {"train": current[part]}
        current = current[part]
    if not isinstance(current, dict):
        return f"{'.'.join(path[:-1])} is no mapping"
    current[path[-1]] = value
    return None


def dump(data: Any) -> str:
    """YAML text of plain data."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
