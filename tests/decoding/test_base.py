"""Decoders of every type: written down and read again they decode the same, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

import tiny
from braid.config.families import TaskConfig
from braid.data.example import Example
from braid.data.windows import units_of
from braid.decoding.base import Need, Prediction, restored
from braid.errors import BraidError
from braid.tasks.base import Head, LabelledTask

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "tagging": [{"crf": True}, {"crf": False}],
    "similarity": [{}, {"loss": "regression"}, {"loss": "contrastive"}],
    "ranking": [{}, {"loss": "pointwise"}],
    "span": [{}, {"n_best": 3}],
}
KINDS = [
    (kind, options)
    for kind, variant in TaskConfig.variants().items()
    if issubclass(variant, LabelledTask)
    for options in OPTIONS.get(kind, [{}])
]


def made(kind: str, options: dict[str, Any]) -> tuple[Head, list[Example], list[np.ndarray], list[np.ndarray]]:
    """A fresh head, specimens, and what a model might say of them."""
    torch.manual_seed(0)
    examples = [tiny.example_of(row, kind) for row in tiny.specimens(kind)]
    spec = tiny.specs_of({kind: tiny.task_of(kind, **options)}, {kind: examples})[kind]
    head = spec.task.make_head(spec.facts, 6)
    for name, buffer in head.named_buffers():
        if "threshold" in name:
            buffer.fill_(0.25)
    rng = np.random.default_rng(0)
    units = [units_of(example, spec.labelled.intake(spec.facts).units) for example in examples]
    shapes = [_shape(kind, spec.facts, example, len(u)) for example, u in zip(examples, units, strict=True)]
    logits = [rng.normal(size=shape) for shape in shapes]
    return head, examples, units, [values.astype(np.float32) for values in logits]


def _shape(kind: str, facts: Any, example: Example, units: int) -> tuple[int, int]:
    """Of what a head says of one example."""
    n = len(facts.get("labels", [0]))
    shapes = {"tagging": (units, n), "span": (units, 4), "dependency": (units * (units + 1), 1 + n)}
    shapes |= {"similarity": (2, 6), "multiple_choice": (len(example.options or ()), 1)}
    return shapes.get(kind, (1, n))


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_decoder_read_again_decodes_the_same(kind: str, options: dict[str, Any]) -> None:
    head, examples, units, logits = made(kind, options)
    if type(head).decode is not Head.decode:
        pytest.skip("it writes its answers itself")
    written, arrays = head.decoding().saved()
    again = restored(kind, json.loads(json.dumps(written)), load(save(arrays)))
    expected = head.decode(logits, examples, units)
    assert [one.to_json() for one in again.decode(logits, examples, units)] == [one.to_json() for one in expected]
    assert len(expected) == len(examples)
    json.dumps([one.to_json() for one in expected])


def test_what_makes_no_decoder_says_why() -> None:
    with pytest.raises(BraidError, match=r"nothing here decodes a mooding task.*plugin"):
        restored("mooding", {}, {})
    with pytest.raises(BraidError, match=r"nothing here decodes a \.\./"):
        restored("../classification", {}, {})
    for kind, options, arrays in (
        ("classification", {"labels": "ab"}, {}),
        ("classification", {"labels": ["a"], "more": 1}, {}),
        ("multilabel", {"labels": ["a", "b"]}, {"threshold_C": np.zeros(3, np.float32)}),
        ("tagging", {"labels": ["O"], "scheme": "bio"}, {"start_C": np.zeros(1, np.float32)}),
        ("tagging", {"labels": ["O"], "scheme": "boi"}, {}),
    ):
        with pytest.raises(ValueError):
            restored(kind, options, arrays)


@pytest.mark.parametrize(
    ("part", "fitting", "unfit"),
    [
        ("pair", Example("a", ""), Example("a")),
        ("context", Example("a", "b"), Example("a", " \n")),
        ("options", Example("a", options=("b", "c")), Example("a", options=("b",))),
    ],
)
def test_a_need_is_met_or_said(part: Any, fitting: Example, unfit: Example) -> None:
    assert Need(part, "why").unfit(fitting) is None
    assert Need(part, "why").unfit(unfit) == "why"


def test_every_decoder_is_known_without_torch() -> None:
    kinds = [kind for kind, options in KINDS if kind != "seq2seq" and not options]
    script = """
import sys
from braid.decoding.base import Decoder, restored
for kind in sys.argv[1:]:
    try:
        restored(kind, {"no": "field"}, {})
    except ValueError:
        pass
    assert kind in Decoder._known, kind
assert not {"torch", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, *kinds], check=True)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_prediction_is_written_as_asdict_would(kind: str, options: dict[str, Any]) -> None:
    head, examples, units, logits = made(kind, options)
    if type(head).decode is not Head.decode:
        pytest.skip("it writes its answers itself")
    for prediction in head.decode(logits, examples, units):
        if type(prediction).to_json is Prediction.to_json:
            assert prediction.to_json() == asdict(prediction)
        assert json.loads(json.dumps(prediction.to_json())) == prediction.to_json()
