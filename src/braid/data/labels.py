"""Labels of rows as strings, and the inventory of a task's labels in its fixed order."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from braid.errors import LabelError, did_you_mean


def canonical(label: Any) -> str:
    """A label as a string: 1, 1.0 and "1" are the same label, and so are true and "true".

    Raises LabelError for what cannot be one label."""
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float):
        if not math.isfinite(label):
            raise LabelError(f"the label is {label}; leave it out where it is unknown")
        return str(int(label)) if label.is_integer() else repr(label)
    if isinstance(label, int):
        return str(label)
    if isinstance(label, str):
        if not label.strip():
            raise LabelError("the label is an empty string; leave it out where it is unknown")
        return label.strip()
    if isinstance(label, list | tuple):
        raise LabelError(f"the label is a list, {label!r:.80}; one text has one label here (else use `multilabel`)")
    raise LabelError(f"the label is {label!r:.80} ({type(label).__name__}); expected a string or an integer")


def inventory(found: Iterable[str], given: Sequence[str] | None) -> list[str]:
    """The labels in their fixed order: as given, else by value where all are integers, else by code point.

    Raises LabelError where a label of the data is not among those given, or one is given twice."""
    if given is None:
        names = set(found)
        integers = all(re.fullmatch(r"-?\d+", name) for name in names)
        return sorted(names, key=lambda name: (int(name) if integers else 0, name))
    repeated = [name for name, times in Counter(given).items() if times > 1]
    if repeated:
        raise LabelError(f"`labels:` names {repeated[0]!r} twice")
    for name in sorted(found):
        if name not in given:
            raise LabelError(f"`labels:` lacks {name!r}, which training rows have: {did_you_mean(name, given)}")
    return list(given)


def id_of(label: str, labels: Sequence[str]) -> int:
    """A label's place in the inventory. Raises LabelError for an unknown one, with the nearest spelling."""
    try:
        return labels.index(label)
    except ValueError:
        raise LabelError(
            f"no training row has the label {label!r} (if it is right, name all labels in `labels:`); "
            f"{did_you_mean(label, labels)}"
        ) from None


def as_strings(labels: Iterable[Any]) -> list[str]:
    """Labels of a recipe as strings. Raises ValueError, as pydantic wants it, for what cannot be a label."""
    try:
        return [canonical(label) for label in labels]
    except LabelError as error:
        raise ValueError(str(error)) from None
