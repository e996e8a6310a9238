"""Changes to a recipe from the command line: `train.lr=3e-5 tasks.ner.crf=true`. Values are YAML."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from braid.config.loading import Document, KeyPath, read_text
from braid.errors import Place, Problem, RecipeError, did_you_mean


@dataclass(frozen=True)
class Overridden:
    """A document with overrides applied. *origins*: the shallowest key that each override made or replaced, and its
    text; *problems*: overrides that could not be applied."""

    document: Document
    data: Any
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """Where a key was given: in an override or in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return _place(self.origins[path[:end]])
            if path[:end] in self.document.lines:
                break
        return self.document.place(path)


def apply(document: Document, overrides: Iterable[str]) -> Overridden:
    """A document with `a.b.c=value` set, in order; what is no such thing is noted as a problem."""
    out = Overridden(replace(document, lines=dict(document.lines)), deepcopy(document.data))
    texts = list(overrides)
    named = {text.partition("=")[0].strip() for text in texts}
    for text in texts:
        key, sign, value = text.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not sign or not all(path):
            what = "write an override as key=value, for example train.lr=3e-5"
            out.problems.append(Problem(what=what, place=_place(text)))
            continue
        try:
            parsed = read_text(value, f"override {text!r}").data
        except RecipeError as error:
            out.problems.extend(error.problems)
            continue
        _set(out, path, parsed, text, named)
    return out


def _set(out: Overridden, path: list[str], value: Any, text: str, named: set[str]) -> None:
    """Set one value. Mappings on the way are made where there are none, and shorthands are written out."""
    current = out.data
    taken: KeyPath = ()
    rest = path
    while len(rest) > 1:
        step, rest = _step(current, rest)
        if not rest:
            rest = [step]
            break
        if taken == ("tasks",) and step not in current and not {f"tasks.{step}", f"tasks.{step}.type"} & named:
            what = f"there is no task {step!r}: {did_you_mean(step, current)}"
            out.problems.append(Problem(what=what, place=_place(text), key=".".join(path)))
            return
        if current.get(step) is None:
            current[step] = {}
            _note(out, (*taken, step), text)
        inner = _written_out((*taken, step), current[step])
        if inner is None:
            what = f"`{'.'.join(map(str, (*taken, step)))}` is no mapping, so it has no key {rest[0]!r}"
            out.problems.append(Problem(what=what, place=_place(text), key=".".join(path)))
            return
        current[step] = current = inner
        taken = (*taken, step)
    current[rest[0]] = value
    out.origins[(*taken, rest[0])] = text
    for known in [known for known in out.document.lines if known[: len(taken) + 1] == (*taken, rest[0])]:
        # What the file said below this key is gone; its lines must not be named any more.
        del out.document.lines[known]


def _step(current: dict[str, Any], rest: list[str]) -> tuple[str, list[str]]:
    """The next key and what is left. A name may hold dots: the longest stretch that is a key is taken."""
    for end in range(len(rest), 1, -1):
        if ".".join(rest[:end]) in current:
            return ".".join(rest[:end]), rest[end:]
    return rest[0], rest[1:]


def _written_out(path: KeyPath, value: Any) -> dict[str, Any] | None:
    """A value as the mapping that it is, or stands for; None where it is and stands for none."""
    if isinstance(value, dict):
        return value
    if path[0] == "tasks" and len(path) == 3 and path[2] == "data" and isinstance(value, str | list):
        return {"train": value}
    if path[0] == "tasks" and len(path) == 4 and path[2] == "data" and isinstance(value, str):
        return {"type": value} if path[3] == "source" else {"path": value}
    if path in (("train", "sampler"), ("train", "balancer")) and isinstance(value, str):
        return {"type": value}
    return None


def _note(out: Overridden, path: KeyPath, text: str) -> None:
    if path not in out.document.lines:
        out.origins.setdefault(path, text)


def _place(text: str) -> Place:
    return Place(file=f"override {text!r}")
