"""YAML with positions: every key knows its line, so that every problem can name it.

YAML 1.2 (ruamel.yaml): `5e-5` is a number and `no` is a string. Nothing but plain data is ever built.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from braid.errors import Place, Problem, RecipeError, nearest, pointed

MAX_BYTES = 10_000_000
MAX_NODES = 100_000
"""Values in a recipe, each use of an alias counted anew: what stops an alias bomb."""

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_SCALARS = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "merge")}


@dataclass(frozen=True)
class Document:
    """*data*: what a file holds, as plain dicts, lists and scalars; *lines*: where each key and list item begins."""

    file: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """The place of a key, or of the nearest one above it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(file=self.file, line=self.lines.get(path))


def read_document(path: str | os.PathLike[str]) -> Document:
    """The YAML mapping in a file. Raises RecipeError: no such file, no text, no YAML, no mapping, duplicate keys."""
    file = Path(path)
    name = str(path)
    if file.is_dir():
        inside = sorted(item.name for item in file.iterdir() if item.suffix in (".yaml", ".yml"))
        _fail(name, "this is a folder, not a recipe", todo=f"it holds {', '.join(inside)}" if inside else None)
    if not file.exists():
        folder = file.parent
        if not folder.is_dir():
            _fail(name, f"there is no file {file.absolute()}, nor its folder")
        options = [item.name for item in folder.iterdir()]
        near = nearest(file.name, [option for option in options if option.endswith((".yaml", ".yml"))])
        near = near or nearest(file.name, options)
        hint = f"did you mean {str(folder / near)!r}?" if near else None
        _fail(name, f"there is no file {file.absolute()}", todo=hint)
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        _fail(name, f"cannot be read: {error.strerror}")
    if len(raw) > MAX_BYTES:
        _fail(name, f"more than {MAX_BYTES:,} bytes: that is no recipe")
    if b"\0" in raw:
        _fail(name, "this is a binary file, not a recipe in YAML")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        _fail(name, f"byte {raw[error.start]:02x} is not UTF-8", line=line, todo="save the recipe as UTF-8")
    document = read_text(text, name)
    if document.data is None:
        _fail(name, "the file is empty", todo="a recipe needs at least `encoder:` and `tasks:`")
    if not isinstance(document.data, dict):
        _fail(name, "a recipe is a mapping such as `tasks: ...`", line=1)
    return document


def read_text(text: str, name: str) -> Document:
    """Any YAML value; *name* stands for it in messages. Raises RecipeError with file, line and column."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        builder = _Builder(yaml, name)
        data = None if node is None else builder.build(node, (), ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"this is not YAML: {error.problem or error.context}"
        if "'\\t'" in what:
            what += " (a tab; YAML indents with spaces)"
        if "found another document" in what:
            what = "there is a second YAML document (`---`); a recipe is one"
        if mark is None:
            _fail(name, what)
        lines = text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        _fail(name, f"{what}\n{pointed(line, mark.column)}", line=mark.line + 1, column=mark.column + 1)
    except RecursionError:
        _fail(name, "nested too deeply")
    except (YAMLError, ValueError) as error:
        _fail(name, f"this is not YAML: {' '.join(str(error).split())}")
    if builder.problems:
        raise RecipeError(builder.problems)
    return Document(name, data, builder.lines)


class _Representer(SafeRepresenter):
    """Writes plain data; its own class, so that the library's is left as it is."""


def _represent_text(representer: SafeRepresenter, text: str) -> ScalarNode:
    # The emitter writes rare line breaks (U+0085, U+2028) as they are, and a reader makes spaces of them.
    return representer.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_Representer.add_representer(str, _represent_text)


def dump(data: Any) -> str:
    """Plain data as YAML text that `read_text` reads back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    yaml.width = 2**20
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


class _Builder:
    """Turns nodes into data by itself: the library's constructor forgets positions and stops at the first problem."""

    def __init__(self, yaml: YAML, file: str) -> None:
        self.yaml, self.file = yaml, file
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self.left = MAX_NODES

    def build(self, node: Any, path: KeyPath, above: tuple[int, ...]) -> Any:
        """The data of a node. *above*: ids of the nodes that it stands in."""
        self.left -= 1
        if self.left < 0:
            _fail(self.file, f"more than {MAX_NODES:,} values (aliases counted each time): that is no recipe")
        if id(node) in above:
            self._note(node, path, "an alias stands inside its own anchor")
            return None
        above = (*above, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, above)
        if isinstance(node, SequenceNode):
            self._check_tag(node, path, {f"{_TAG}seq"})
            for place, item in enumerate(node.value):
                self.lines[(*path, place)] = item.start_mark.line + 1
            return [self.build(item, (*path, place), above) for place, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        self._check_tag(node, path, {f"{_TAG}map"})
        out: dict[str, Any] = {}
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._note(key_node, path, "a key must be text, not a list or a mapping")
                continue
            line = key_node.start_mark.line + 1
            if str(key_node.tag) == f"{_TAG}merge":
                for merged in value_node.value if isinstance(value_node, SequenceNode) else [value_node]:
                    if not isinstance(merged, MappingNode):
                        self._note(key_node, path, "`<<` merges mappings only")
                        continue
                    # Keys that stand here win over merged ones, wherever `<<` stands.
                    out = {**self.build(merged, path, above), **out}
                continue
            # A key is what is written: `2024:` and `no:` are names.
            key = str(key_node.value)
            if key in own:
                self._note(key_node, (*path, key), f"key {key!r} occurs twice; first in line {own[key]}")
                continue
            own[key] = line
            self.lines[(*path, key)] = line
            out.pop(key, None)
            out[key] = self.build(value_node, (*path, key), above)
        return out

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        self._check_tag(node, path, _SCALARS)
        tag = str(node.tag)
        if tag not in _SCALARS or tag in (f"{_TAG}timestamp", f"{_TAG}merge"):
            # `name: 2024-05-01` is a name; nothing in a recipe is a date.
            return str(node.value)
        try:
            return self.yaml.constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            self._note(node, path, f"{node.value!r} cannot be read: {error}")
            return None

    def _check_tag(self, node: Any, path: KeyPath, allowed: set[str]) -> None:
        if str(node.tag) not in allowed:
            self._note(node, path, f"tag {str(node.tag).replace(_TAG, '!!')} is not allowed in a recipe")

    def _note(self, node: Any, path: KeyPath, what: str) -> None:
        place = Place(file=self.file, line=node.start_mark.line + 1, column=node.start_mark.column + 1)
        key = ".".join(map(str, path)) or None
        self.problems.append(Problem(what=what, place=place, key=key, path=path))


def _fail(
    file: str, what: str, *, line: int | None = None, column: int | None = None, todo: str | None = None
) -> NoReturn:
    place = Place(file=file, line=line, column=column)
    raise RecipeError([Problem(what=what, place=place, todo=todo)]) from None
