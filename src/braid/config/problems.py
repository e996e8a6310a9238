"""pydantic's errors as sentences for people: what was found, what is allowed, the nearest right spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from braid.config.families import DataConfig
from braid.config.loading import KeyPath
from braid.config.variant import Config, Variant
from braid.errors import Problem, did_you_mean, nearest, shown


def problems_of(error: ValidationError, model: type[Config], given: Any) -> list[Problem]:
    """Every error of a validation. *given*: what was validated, as written."""
    walks: dict[tuple[KeyPath, bool], list[tuple[_Walk, Mapping[str, Any]]]] = {}
    for number, item in enumerate(error.errors()):
        if item["type"] == "default_factory_not_called":
            continue  # A default that depends on a value which is wrong itself: `out` on `name`.
        walk = _Walk(model, given, given, root=model).go(item["loc"])
        # The branches of a union fail one by one, but are one problem; others may well share a key.
        key = (walk.path, True) if walk.union else ((*walk.path, number), False)
        walks.setdefault(key, []).append((walk, item))
    out: dict[tuple[KeyPath, str], Problem] = {}
    for found in walks.values():
        walk, _ = found[0]
        what = _sentence(walk, [item for _, item in found])
        path = walk.written
        if len(path) < len(walk.path) and isinstance(walk.path[-1], str) and not what.startswith("unknown"):
            what = f"{walk.path[-1]}: {what}"
        out.setdefault((path, what), Problem(what=what, key=dotted(path), path=path))
    return list(out.values())


def dotted(path: KeyPath) -> str | None:
    """`tasks.ner.data.train[0].path`; None for the whole."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or None


@dataclass
class _Walk:
    """Follows an error's location through the models and through what was written.

    *value*: what the keys so far lead to, shorthands written out; *raw*: the same as it was written; *path*: the keys;
    *written*: as much of them as stands in the recipe (`data: x.tsv` has no key `train`); *owner*: the model that
    holds the last key; *root*: the model of the whole; *union*: whether the location ends inside a union."""

    model: Any
    value: Any
    raw: Any
    root: type[Config]
    path: KeyPath = ()
    written: KeyPath = ()
    owner: type[Config] | None = None
    union: bool = False
    shared: tuple[KeyPath, Any] = ((), None)
    """The `source:` that was merged into the splits on the way, and where it stands."""

    def go(self, loc: tuple[int | str, ...]) -> _Walk:
        """Follow a whole location."""
        for place, part in enumerate(loc):
            self.model = _without_none(self.model)
            if branches := _branches(self.model):
                # The location goes on with pydantic's name of the branch, which is no key of ours.
                self.union = True
                self._inside(branches, loc[place + 1 :])
                break
            self._step(part)
        return self

    def _step(self, part: int | str) -> None:
        model = self.model
        if isinstance(model, type) and issubclass(model, Config):
            self.value = _expanded(model, self.value)
            if issubclass(model, Variant) and "family" in model.__dict__ and isinstance(self.value, dict):
                model = model.variants().get(str(self.value.get("type")), model)
            if model is DataConfig and isinstance(self.raw, dict):
                self.shared = ((*self.written, "source"), self.raw.get("source"))
            self.owner = model
            known = model.model_fields.get(str(part))
            self.model = known.annotation if known is not None else None
        else:
            arguments = get_args(model)
            self.model = arguments[-1] if get_origin(model) in (dict, list, tuple) and arguments else None
        self.path = (*self.path, part)
        where, shared = self.shared
        if not _has(self.raw, part) and _has(shared, part):
            self.written, self.raw = (*where, part), shared[part]
        elif not _has(self.raw, part) and isinstance(shared, str) and part == "type":
            self.written, self.raw = where, shared
        elif isinstance(self.raw, dict) and isinstance(part, str):
            self.written, self.raw = (*self.written, part), self.raw.get(part)
        elif isinstance(self.raw, list | tuple) and isinstance(part, int):
            self.written, self.raw = (*self.written, part), _get(self.raw, part)
        # Else a shorthand stands for what this key would hold: it stays where it is written.
        self.value = _get(self.value, part)

    def _inside(self, branches: list[Any], rest: tuple[int | str, ...]) -> None:
        """Go on in the branch that is of the value's own kind, as far as the location names parts of it."""
        for branch in branches:
            kind = get_origin(branch) or branch
            if kind in (dict, list) and isinstance(self.value, kind):
                self.model = branch
                for part in rest:
                    if _has(self.value, part):
                        self._step(part)


def _without_none(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not NoneType]
    return options[0] if get_origin(annotation) in (Union, UnionType) and len(options) == 1 else annotation


def _branches(annotation: Any) -> list[Any]:
    if get_origin(annotation) not in (Union, UnionType):
        return []
    return [option for option in get_args(annotation) if option is not NoneType]


def _expanded(model: type[Config], value: Any) -> Any:
    try:
        return model.expand(value)
    except ValueError:
        return value


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


def _get(value: Any, part: int | str) -> Any:
    if isinstance(value, Config):
        return getattr(value, str(part), None)
    return value[part] if _has(value, part) else None


def _sentence(walk: _Walk, items: list[Mapping[str, Any]]) -> str:
    """What is wrong at one key; several errors where every branch of a union failed."""
    item = items[0]
    kind, found, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key {walk.path[-1]!r}: {_advice(walk)}"
    if kind == "missing":
        return f"`{walk.path[-1]}` is missing"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind in ("unknown_type", "missing_type"):
        return str(item["msg"])
    deepest = max(len(one["loc"]) for one in items)
    allowed = list(dict.fromkeys(_expected(one) for one in items if len(one["loc"]) == deepest or len(items) > 1))
    options = [option for one in items for option in _options(one)]
    near = nearest(str(found), options) if isinstance(found, str) else None
    hint = f"; did you mean {near!r}?" if near is not None else ""
    return f"expected {' or '.join(allowed)}, found {shown(found)}{hint}"


def _advice(walk: _Walk) -> str:
    """What a key that is not known may have been meant to be."""
    key = str(walk.path[-1])
    known = walk.owner.model_fields if walk.owner is not None else {}
    for name, field in walk.root.model_fields.items():
        part = field.annotation
        if not (isinstance(part, type) and issubclass(part, Config)):
            continue
        if walk.owner is walk.root and key in part.model_fields:
            return f"it belongs under `{name}`: {name}.{key}"
        if walk.owner is part and key in walk.root.model_fields:
            return f"it belongs at the top of the recipe, beside `{name}`"
    return did_you_mean(key, known)


def _options(item: Mapping[str, Any]) -> list[str]:
    if item["type"] != "literal_error":
        return []
    return re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))


_PHRASES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
}


def _expected(item: Mapping[str, Any]) -> str:
    """What one error of pydantic's would have had instead."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "literal_error":
        options = _options(item)
        return f"one of {', '.join(options)}" if len(options) > 1 else str(context["expected"])
    if kind in _PHRASES:
        return _PHRASES[kind].format(**{key: _plain(value) for key, value in context.items()})
    return str(item["msg"]).removeprefix("expected ").removeprefix("Input should be ").removeprefix("a valid ")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
