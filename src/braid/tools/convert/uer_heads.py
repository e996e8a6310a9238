"""The targets and fine-tuned heads of UER-py as tasks of ours, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.tools.convert.hf_heads import Names
from braid.tools.convert.hf_reading import language_head, span_head, tagging_head
from braid.tools.convert.hf_writing import leave_unnamed, refusal, scaled, their_names
from braid.tools.convert.kind import Options, labels_or_numbers
from braid.tools.convert.model import Model, TaskHead, head
from braid.tools.convert.report import Report

_PAIR: Names = {"features.dense": "target.sp.linear_1", "classifier": "target.sp.linear_2"}
_LM: Names = {
    "predictor.words": "target.lm.output_layer.weight",
    "predictor.bias": "target.lm.output_layer.bias",
}
_ROW: Names = {"features.dense": "output_layer_1", "classifier": "output_layer_2"}
HEADS: dict[str, Names] = {
    "mlm": {
        "predictor.dense": "target.mlm.linear_1",
        "predictor.norm": "target.mlm.layer_norm",
        "predictor.bias": "target.mlm.linear_2.bias",
        "predictor.words": "target.mlm.linear_2.weight",
    },
    "nsp": _PAIR,
    "sop": _PAIR,
    "clm": _LM,
    "bilm": _LM,
    "classification": _ROW,
    "regression": {"features.dense": "output_layer_1", "output": "output_layer_2"},
    "tagging": {
        "classifier": "output_layer",
        "crf.start": "crf.start_transitions",
        "crf.end": "crf.end_transitions",
        "crf.transitions": "crf.transitions",
    },
    "span": {"classifier": "output_layer"},
    "multiple_choice": {"output": "output_layer"},
}
"""By our task type. `target.*` are those of pre-training, `output_layer*` those of finetune/run_*.py."""

POOLINGS = {"first": "cls", "mean": "mean", "max": "max"}


def read_heads(
    found: Mapping[str, Tensor],
    encoder: Encoder,
    settings: Mapping[str, object],
    path: Path,
    options: Options,
    report: Report,
) -> dict[str, TaskHead]:
    """All heads of a file. What is used is reported as mapped."""
    heads: dict[str, TaskHead] = {}
    if "target.mlm.linear_1.weight" in found:
        heads["mlm"] = _language("mlm", found, encoder, report)
    if "target.lm.output_layer.weight" in found:
        kind = "bilm" if encoder.sees == "apart" else "clm"
        if encoder.sees == "both":
            report.leave((name for name in found if name.startswith("target.lm.")), "the encoder is no language model")
        else:
            heads[kind] = _language(kind, found, encoder, report)
    if "target.sp.linear_1.weight" in found:
        encoder.keep_pooler(found["target.sp.linear_1.weight"].float(), found["target.sp.linear_1.bias"].float())
        report.map(("target.sp.linear_1.weight", "target.sp.linear_1.bias"), "encoder")
    if "target.sp.linear_2.weight" in found:
        albert = encoder.hf_config().get("model_type") == "albert"
        kind = "sop" if albert else "nsp"
        heads[kind] = head(kind, _ours(kind, found, report), {})
    if "output_layer_2.weight" in found:
        kind, made = _row_head(found, settings, path, options, report)
        heads[kind] = made
    if "output_layer.weight" in found:
        kind, made = _unit_head(found, path, options, report)
        heads[kind] = made
    return heads


def _ours(kind: str, found: Mapping[str, Tensor], report: Report) -> dict[str, Tensor]:
    """A head's weights by our names, reported as mapped."""
    out = {}
    for ours, theirs in HEADS[kind].items():
        for suffix in ("", ".weight", ".bias"):
            if f"{theirs}{suffix}" in found:
                out[f"{ours}{suffix}"] = found[f"{theirs}{suffix}"]
                report.map([f"{theirs}{suffix}"], kind)
    return out


def _language(kind: str, found: Mapping[str, Tensor], encoder: Encoder, report: Report) -> TaskHead:
    weights = _ours(kind, found, report)
    words = weights["predictor.words"]
    if words.shape == encoder.word_embeddings.shape and torch.equal(words.float(), encoder.word_embeddings):
        del weights["predictor.words"]
    return language_head(kind, weights, encoder, size=words.shape[1])


def _row_head(
    found: Mapping[str, Tensor], settings: Mapping[str, object], path: Path, options: Options, report: Report
) -> tuple[str, TaskHead]:
    """Of run_classifier.py, or, with one output, run_regression.py."""
    count = len(found["output_layer_2.weight"])
    kind = options.task_type or ("regression" if count == 1 else "classification")
    _check_type(kind, ("classification", "regression"), path)
    pooling = POOLINGS.get(str(settings.get("pooling", "first")))
    if pooling is None:
        raise BraidError(f"{path}: pooling: {settings['pooling']!r}, expected {', '.join(POOLINGS)}")
    if pooling != "cls":
        report.notes.append(f"{pooling} pooling: UER-py's takes padding along, Braid's has none")
    weights = _ours(kind, found, report)
    pooled = {"pooling": pooling, "pooler": "features.dense.weight" in weights}
    if kind == "regression":
        return kind, head(kind, weights, {"mean": 0.0, "std": 1.0}, **pooled)
    labels = labels_or_numbers(options, count, "output_layer_2", report)
    return kind, head(kind, weights, {"labels": labels, "soft": False}, **pooled)


def _unit_head(found: Mapping[str, Tensor], path: Path, options: Options, report: Report) -> tuple[str, TaskHead]:
    """Of run_ner.py, run_cmrc.py or run_c3.py, whose layers have the same name."""
    count = len(found["output_layer.weight"])
    kind = options.task_type or (
        "multiple_choice" if count == 1 else "tagging" if count > 2 or options.labels else None
    )
    if kind is None:
        raise BraidError(f"{path}: output_layer has 2 rows; say --task-type tagging (with --labels) or span")
    _check_type(kind, ("tagging", "span", "multiple_choice"), path)
    weights = _ours(kind, found, report)
    if kind == "span":
        return kind, span_head(weights)
    if kind == "multiple_choice":
        return kind, head(kind, weights, {}, pooler=False)
    if options.labels is None:
        raise BraidError(
            f"{path}: output_layer has {count} tags, which the file does not name; give --labels, the label2id file or "
            "the tags in order with commas"
        )
    labels = list(options.labels)
    crf = "crf.transitions" in weights
    if len(labels) == count - 1:
        report.leave(["output_layer, last row"], "the tag of padding, [PAD], which Braid does not have")
        weights = {
            name: tensor[: count - 1, : count - 1] if name == "crf.transitions" else tensor[: count - 1]
            for name, tensor in weights.items()
        }
    elif len(labels) != count:
        raise BraidError(f"{path}: output_layer has {count} tags, --labels names {len(labels)}")
    return kind, tagging_head(weights, labels, crf=crf)


def _check_type(kind: str, allowed: tuple[str, ...], path: Path) -> None:
    if kind not in allowed:
        raise BraidError(f"{path}: --task-type {kind}; the head there can be {' or '.join(allowed)}")


def write_heads(model: Model, report: Report) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of all heads that UER-py has too, and the targets among them. The others are reported."""
    out: dict[str, Tensor] = {}
    targets: list[str] = []
    for name, one in model.heads.items():
        names = HEADS.get(one.kind, {})
        reason = _refusal(one)
        if reason is None and any(theirs in out or f"{theirs}.weight" in out for theirs in names.values()):
            reason = "another head has its place; choose one with --task"
        if reason is not None:
            report.leave([f"tasks/{name}"], reason)
            continue
        weights = scaled(one)
        if one.kind in ("mlm", "clm", "bilm") and "predictor.words" not in weights:
            weights["predictor.words"] = model.encoder.word_embeddings.detach()
        out |= their_names(names, weights)
        leave_unnamed(name, one, names, report, "UER-py")
        target = {"mlm": "mlm", "nsp": "sp", "sop": "sp", "clm": "lm", "bilm": "bilm"}.get(one.kind)
        targets += [target] if target else []
    pooler = model.encoder.pooler
    if pooler is not None and "target.sp.linear_1.weight" not in out:
        out |= {"target.sp.linear_1.weight": pooler[0], "target.sp.linear_1.bias": pooler[1]}
    return out, targets


def _refusal(one: TaskHead) -> str | None:
    """Why UER-py cannot hold a head."""
    task = one.spec.task
    if one.kind == "multiple_choice" and getattr(task, "pooler", True):
        return "it has a pooler, which UER-py's has not"
    if one.kind in ("clm", "bilm", "mlm") and "predictor.dense.weight" in one.weights and one.kind != "mlm":
        return "its output layer is two"
    plain = task.model_copy(
        update={
            key: value
            for key, value in (("crf", False), ("output_bias", False), ("pooling", "cls"), ("pooler", True))
            if hasattr(task, key) and (key != "pooler" or one.kind == "multiple_choice")
        }
    )
    pooling = getattr(task, "pooling", "cls")
    if pooling not in POOLINGS.values():
        return f"it pools by {pooling}"
    return refusal(TaskHead(type(one.spec)(plain, one.spec.facts), one.weights), HEADS.keys(), "UER-py")
