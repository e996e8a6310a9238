"""Labels that carry a teacher's opinion: `{"label": "pos", "logits": ...}`, as `braid predict --logits` writes them.

*logits* (or *probabilities*) say how much a teacher gives to each label: a mapping from label to number, or
`{"labels": [...], "values": [...]}`, where values may be a list of such lists (one for each word). Beside them may
stand the hard label, under the key by which the task's predictions carry it. A number's teacher says a number:
`{"value": 3.5, "logits": 3.1}`.

Shape legend: C labels, U units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from braid.data.labels import canonical
from braid.errors import LabelError

TOLERANCE = 0.02
"""How far from 1 rounded probabilities may sum."""

LEAST = 1e-6
"""Probability that stands for none, so that its logarithm is a number."""


def is_soft(label: Any) -> bool:
    """Whether a label carries a teacher's logits or probabilities."""
    return isinstance(label, Mapping) and ("logits" in label or "probabilities" in label)


def hard_label(label: Any, key: str) -> Any:
    """The label without what a teacher says: itself, or what a prediction carries under *key*; None where it has
    only the teacher's opinion. Raises LabelError for a mapping that is neither."""
    if not isinstance(label, Mapping):
        return label
    if key not in label and not is_soft(label):
        raise LabelError(
            f"the label is a mapping with {', '.join(map(repr, label)) or 'nothing'}; expected {key!r}, "
            "or a teacher's `logits` or `probabilities`"
        )
    return label.get(key)


def names_of(label: Any, *, independent: bool = False) -> list[str]:
    """The labels that a teacher's opinion is about; none for a plain label. *independent* and the errors: as in
    `teacher_logits`."""
    return _table(label, independent=independent)[0] if is_soft(label) else []


def teacher_logits(label: Any, labels: Sequence[str], *, independent: bool = False) -> np.ndarray | None:
    """A teacher's logits in the order of *labels*: [C] float32, or [U, C]; None for a plain label. *independent*:
    labels do not exclude each other (logits are those of a logistic function).

    A label of ours that the teacher does not know gets (nearly) nothing of its probability. Raises LabelError for
    opinions about labels that are not ours, and for numbers that are none."""
    if not is_soft(label):
        return None
    names, values = _table(label, independent=independent)
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise LabelError(f"the teacher's {unknown[0]!r} is no label of this task; name all labels in `labels:`")
    lowest = values.min(axis=-1, keepdims=True) + np.log(LEAST)
    out = np.broadcast_to(lowest, (*values.shape[:-1], len(labels))).copy()
    out[..., [labels.index(name) for name in names]] = values
    return out.astype(np.float32)


def _table(label: Mapping[str, Any], *, independent: bool = False) -> tuple[list[str], np.ndarray]:
    """Names and logits [.., C] of a teacher's opinion."""
    kind = "logits" if label.get("logits") is not None else "probabilities"
    given = label.get(kind)
    if not isinstance(given, Mapping) or not given:
        raise LabelError(f"`{kind}` is {given!r:.60}; expected a mapping from label to number")
    if set(given) == {"labels", "values"}:
        names, numbers = _names(given["labels"]), given["values"]
    else:
        names, numbers = _names(given), list(given.values())
    try:
        values = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(0, np.nan)
    if values.ndim not in (1, 2) or values.shape[-1] != len(names) or not np.isfinite(values).all():
        raise LabelError(f"`{kind}`: expected {len(names)} finite numbers (for each word), one for each label")
    if kind == "probabilities":
        if (values < 0).any() or (values > 1 + 1e-6).any():
            raise LabelError("`probabilities`: expected numbers from 0 to 1")
        sums = values.sum(axis=-1)
        if not independent and (np.abs(sums - 1) > TOLERANCE).any():
            raise LabelError(f"`probabilities`: they must sum to 1, found {float(np.atleast_1d(sums)[0]):.4g}")
        sure = np.clip(values, LEAST, 1 - LEAST)
        values = np.log(sure) - np.log1p(-sure) if independent else np.log(np.maximum(values, LEAST))
    return names, values


def _names(given: Iterable[Any]) -> list[str]:
    names = [canonical(name) for name in given]
    if len(set(names)) < len(names):
        raise LabelError("the teacher names a label twice")
    return names
