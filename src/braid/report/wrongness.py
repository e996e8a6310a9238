"""How wrong a prediction is, and how sure it was, by what it holds: task types are known by fields, never by name.

A type of one's own whose predictions have the fields of one of ours is shown as ours is; any other one is scored by
its own meter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braid.data.tag_schemes import spans_of
from braid.model.network import TaskSpec

SHOWN = 8
"""Units named of a row whose tags are wrong."""


@dataclass(frozen=True)
class Judgement:
    """*wrong*: 0 where nothing is, more where more is; *gold* and *said* in words; *distance*: whether *wrong* is how
    far a number is off, which is never quite 0."""

    wrong: float
    gold: str
    said: str
    distance: bool = False


def judgement(prediction: Any, gold: Any, units: np.ndarray, text: str, spec: TaskSpec) -> Judgement:
    """How wrong one prediction is."""
    probabilities = getattr(prediction, "probabilities", None)
    if isinstance(probabilities, Mapping) and isinstance(gold, str):
        return _label(prediction.label, gold, probabilities)
    if isinstance(probabilities, Mapping):
        return _labels(prediction.labels, gold, probabilities)
    if probabilities is not None and hasattr(prediction, "index"):
        chances = dict(enumerate(probabilities))
        wrong = 1 - chances.get(gold, 0.0)
        return Judgement(
            wrong if prediction.index != gold else 0.0,
            f"option {gold + 1}",
            f"option {prediction.index + 1}: {prediction.option} ({chances[prediction.index]:.2f})",
        )
    if hasattr(prediction, "tags"):
        return _tags(prediction.tags, list(gold), units, text, spec)
    if hasattr(prediction, "heads"):
        return _tree(prediction, gold)
    if hasattr(prediction, "rank"):
        relevance = float(gold[1])
        said = f"rank {prediction.rank} (score {prediction.score:.3f})"
        return Judgement(float(prediction.rank - 1) if relevance > 0 else 0.0, f"relevance {relevance:g}", said)
    amount = getattr(prediction, "closeness", getattr(prediction, "value", None))
    if isinstance(amount, int | float) and isinstance(gold, int | float):
        return Judgement(abs(amount - gold), f"{gold:g}", f"{amount:.3f}", distance=True)
    return _measured(prediction, gold, spec)


def claims(prediction: Any, gold: Any, spec: TaskSpec) -> list[tuple[float, bool]]:
    """What a prediction says how likely it is, and whether it is so. Nothing where it says nothing of the kind."""
    probabilities = getattr(prediction, "probabilities", None)
    if isinstance(probabilities, Mapping):
        if isinstance(gold, str):
            return [(probabilities[prediction.label], prediction.label == gold)]
        return [(chance, label in gold) for label, chance in probabilities.items()]
    if probabilities is not None and hasattr(prediction, "index"):
        return [(probabilities[prediction.index], prediction.index == gold)]
    scheme = getattr(spec.task.meter(spec.facts), "scheme", None)
    if scheme is not None and hasattr(prediction, "spans"):
        said, expected = spans_of(prediction.tags, scheme), set(spans_of(list(gold), scheme))
        if len(said) == len(prediction.spans):
            return [(span.score, mine in expected) for span, mine in zip(prediction.spans, said, strict=True)]
    if hasattr(prediction, "nbest"):
        return [(prediction.score, _scores(prediction, gold, spec).get("exact_match", 0.0) >= 1)]
    return []


def _label(said: str, gold: str, probabilities: Mapping[str, float]) -> Judgement:
    chance = probabilities.get(gold, 0.0)
    wrong = 1 - chance if said != gold else 0.0
    return Judgement(wrong, f"{gold} ({chance:.2f})", f"{said} ({probabilities[said]:.2f})")


def _labels(said: Sequence[str], gold: Sequence[str], probabilities: Mapping[str, float]) -> Judgement:
    differing = set(said) ^ set(gold)
    # Labels that differ count; among rows with as many, those that the model was surer of.
    surest = max((abs(probabilities.get(label, 0.0) - (label in gold)) for label in differing), default=0.0)
    shown = [f"{label} ({probabilities[label]:.2f})" for label in said]
    return Judgement(
        len(differing) + surest if differing else 0.0, ", ".join(gold) or "no label", ", ".join(shown) or "no label"
    )


def _tags(said: Sequence[str], gold: Sequence[str], units: np.ndarray, text: str, spec: TaskSpec) -> Judgement:
    wrong = [number for number, (a, b) in enumerate(zip(gold, said, strict=True)) if a != b]
    scheme = getattr(spec.task.meter(spec.facts), "scheme", None)
    if scheme is None or len(units) < len(gold):
        shown = [f"{_unit(units, text, number)}: {gold[number]} → {said[number]}" for number in wrong[:SHOWN]]
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Judgement(len(wrong), f"{len(wrong)} of {len(gold)} units are wrong", "; ".join(shown) + more)
    expected, found = spans_of(gold, scheme), spans_of(said, scheme)
    differing = set(expected) ^ set(found)
    if not differing:
        return Judgement(0, "all right", "all right")
    return Judgement(len(differing), _marked(expected, differing, units, text), _marked(found, differing, units, text))


def _marked(spans: Sequence[Any], differing: set[Any], units: np.ndarray, text: str) -> str:
    """Those spans that only one side has, in the text's words."""
    shown = [
        f"{text[int(units[first][0]) : int(units[end - 1][1])]}{f' [{label}]' if label else ''}"
        for first, end, label in spans
        if (first, end, label) in differing
    ]
    return " · ".join(shown) or "nothing else"


def _unit(units: np.ndarray, text: str, number: int) -> str:
    if number >= len(units):
        return str(number + 1)
    return text[int(units[number][0]) : int(units[number][1])]


def _tree(prediction: Any, gold: Any) -> Judgement:
    mine = list(zip(prediction.heads, prediction.relations, strict=True))
    wrong = [
        (number, right, said)
        for number, (right, said) in enumerate(zip(zip(gold.heads, gold.relations, strict=True), mine, strict=True), 1)
        if right != said
    ]
    gold_text = "; ".join(f"{number}: {right[1]} of {right[0]}" for number, right, _ in wrong[:SHOWN])
    said_text = "; ".join(f"{number}: {said[1]} of {said[0]}" for number, _, said in wrong[:SHOWN])
    return Judgement(len(wrong), gold_text or "all words right", said_text or "all words right")


def _measured(prediction: Any, gold: Any, spec: TaskSpec) -> Judgement:
    scores = _scores(prediction, gold, spec)
    metric = spec.task.best(spec.facts)
    value = scores.get(metric, next(iter(scores.values()), 0.0))
    wrong = value if metric in spec.task.lower_is_better else 1 - value
    return Judgement(0.0 if math.isnan(wrong) else wrong, _plain(gold), _plain(prediction))


def _scores(prediction: Any, gold: Any, spec: TaskSpec) -> dict[str, float]:
    """The metrics of one row alone."""
    meter = spec.task.meter(spec.facts)
    meter.update(prediction, gold)
    return meter.compute()


def _plain(value: Any) -> str:
    """Anything in words, the text of it where it has one."""
    if hasattr(value, "text"):
        return str(value.text) or "no answer"
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return " / ".join(value) or "no answer"
    content = value.to_json() if hasattr(value, "to_json") else value
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
