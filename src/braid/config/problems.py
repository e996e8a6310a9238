"""pydantic's errors as sentences for people: what was found, what is allowed, the nearest right spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from braid.config.variant import Variant
from braid.errors import Problem, did_you_mean


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Every error of a validation, as a problem with its dotted key."""
    out = []
    for item in error.errors():
        path, owner = walk(item["loc"], model)
        out.append(Problem(what=_sentence(item, path, owner), key=".".join(path) or None))
    return out


def walk(loc: Iterable[int | str], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """The key that a location stands for, without the tags that unions add, and the model that the last key is of."""
    path: list[str] = []
    current: Any = model
    owner: type[BaseModel] | None = model
    for part in loc:
        if isinstance(current, type) and issubclass(current, Variant) and "family" in current.__dict__:
            variant = current.variants().get(str(part))
            if variant is not None:
                current = owner = variant
                continue
        if isinstance(current, type) and issubclass(current, BaseModel):
            owner = current
            field = current.model_fields.get(str(part))
            current = field.annotation if field is not None else None
        else:
            current = _inner(current)
        current = _plain(current)
        path.append(str(part))
    return path, owner


def _plain(annotation: Any) -> Any:
    """`X | None` as X; anything else as it is."""
    options = [arg for arg in get_args(annotation) if arg is not type(None)]
    if options and get_origin(annotation) not in (list, dict, tuple) and len(options) == 1:
        return options[0]
    return annotation


def _inner(annotation: Any) -> Any:
    """What a list or a mapping holds."""
    arguments = get_args(annotation)
    return arguments[-1] if arguments and get_origin(annotation) in (list, dict, tuple) else None


def _sentence(item: Mapping[str, Any], path: list[str], owner: type[BaseModel] | None) -> str:
    kind, found, context = item["type"], item.get("input"), item.get("ctx", {})
    last = path[-1] if path else ""
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner is not None else []
        return f"unknown key {last!r}: {did_you_mean(last, known)}"
    if kind == "missing":
        return f"{last!r} is missing"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"unknown type {context['tag']!r}: {did_you_mean(context['tag'], tags)}"
    if kind == "union_tag_not_found":
        if not isinstance(found, dict):
            return f"found {shown(found)} where a mapping with a `type` belongs"
        return f"`type` is missing: {_types(item)}"
    if kind == "literal_error":
        allowed = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"found {shown(found)}: {did_you_mean(str(found), allowed)} (allowed: {', '.join(allowed)})"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"found {shown(found)} where a mapping belongs"
    message = item["msg"].replace("Input should be", "should be").replace("a valid ", "a ")
    return f"found {shown(found)}: {message}"


def _types(item: Mapping[str, Any]) -> str:
    from braid.config.families import TaskConfig

    names = TaskConfig.variants() if "tasks" in item["loc"] else ()
    return f"one of {', '.join(names)}" if names else "say which"


def shown(value: Any) -> str:
    """A value as it may stand in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
