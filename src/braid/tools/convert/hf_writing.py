"""Tasks of ours -> heads of transformers' models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braid.encoders.bert_layouts import ROBERTA_LIKE
from braid.encoders.packed_module import PackedEncoder
from braid.tasks.base import Task
from braid.tools.convert.hf_heads import HEADS, POOLER, Architecture, Names, architecture_for, class_name, second_bias
from braid.tools.convert.model import Model, TaskHead
from braid.tools.convert.report import Report


def described(model: Model, report: Report) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and weights of a model. Heads that no class of transformers holds are reported."""
    encoder = model.encoder
    config, state = encoder.hf_config(), dict(encoder.hf_state())
    kind = str(config.get("model_type"))
    heads = _held(model, kind, report)
    architecture = architecture_for(kind, frozenset(head.kind for head in heads.values()))
    if architecture is None:
        report.leave(
            (f"tasks/{name}" for name in heads),
            "no class of transformers holds these heads together; choose one with --task",
        )
        heads, architecture = {}, architecture_for(kind, frozenset())
    assert architecture is not None
    name = class_name(kind, architecture)
    if name is not None:
        config["architectures"] = [name]
    config = {**config, **{key: value for head in heads.values() for key, value in _settings(head, report).items()}}
    return config, _tensors(model, heads, state, architecture, kind, report)


def _held(model: Model, kind: str, report: Report) -> dict[str, TaskHead]:
    """The heads that transformers can hold; the others are reported with the reason."""
    out = {}
    for name, head in model.heads.items():
        reason = refusal(head, HEADS.get(kind, {}).keys(), kind)
        if reason is None:
            out[name] = head
        else:
            report.leave([f"tasks/{name}"], reason)
    return out


def refusal(head: TaskHead, types: Any, kind: str) -> str | None:
    """Why a head cannot be one of another program's; None: it can. *types*: the task types that it has heads of."""
    task: Task = head.spec.task
    if head.kind not in types:
        return f"a {head.kind} head has no counterpart for {kind}"
    if getattr(task, "mix_layers", False):
        return "it reads a mixture of layers"
    if getattr(task, "head", "linear") != "linear":
        return f"its head is {getattr(task, 'head', '')!r}"
    if getattr(task, "hidden_layers", 0):
        return "it has further hidden layers"
    if getattr(task, "pooling", "cls") != "cls":
        return f"it pools by {getattr(task, 'pooling', '')}"
    if not getattr(task, "pooler", True):
        return "it has no pooler"
    if getattr(task, "crf", False):
        return "it has a CRF"
    if head.kind == "clm" and (getattr(task, "output_bias", False) or "predictor.dense.weight" in head.weights):
        return "its output layer is another than GPT-2's"
    return None


def _settings(head: TaskHead, report: Report) -> dict[str, Any]:
    """What config.json says of a head."""
    facts = head.spec.facts
    out: dict[str, Any] = {}
    if "labels" in facts:
        labels = facts["labels"]
        out["id2label"] = {str(number): label for number, label in enumerate(labels)}
        out["label2id"] = {label: number for number, label in enumerate(labels)}
    if head.kind in ("classification", "multilabel"):
        multi = head.kind == "multilabel"
        out["problem_type"] = "multi_label_classification" if multi else "single_label_classification"
    if head.kind == "regression":
        out |= {"problem_type": "regression", "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    if "predictor.words" in head.weights:
        out["tie_word_embeddings"] = False
    return out


def _tensors(
    model: Model,
    heads: Mapping[str, TaskHead],
    state: Mapping[str, Tensor],
    architecture: Architecture,
    kind: str,
    report: Report,
) -> dict[str, Tensor]:
    """All weights under transformers' names: the encoder's with the prefix that they have beside a head."""
    pooler = {name: tensor for name, tensor in state.items() if name.startswith("pooler.")}
    stem = "pooler" if kind == "albert" else "pooler.dense"
    headed: dict[str, Tensor] = {}
    for name, head in heads.items():
        names = HEADS[kind][head.kind]
        for key, tensor in their_names(names, scaled(head)).items():
            if key.startswith(f"{POOLER}."):
                pooler[f"{stem}.{key.removeprefix(f'{POOLER}.')}"] = tensor
            else:
                headed[key] = tensor
        own_bias = second_bias(names)
        if "predictor.words" in head.weights and own_bias is not None:
            headed[own_bias] = head.weights["predictor.bias"]
        leave_unnamed(name, head, names, report, "transformers")
    # RoBERTa's classes with a head have no pooler: their classifier has a dense layer of its own.
    keeps = architecture.pooler and (kind not in ROBERTA_LIKE or not heads)
    if not keeps:
        report.leave(pooler, f"{class_name(kind, architecture)} has no pooler")
        pooler = {}
    encoder = model.encoder
    prefix = encoder.layout.prefix if heads and isinstance(encoder, PackedEncoder) else ""
    plain = {name: tensor for name, tensor in state.items() if not name.startswith("pooler.")}
    return {**{prefix + name: tensor for name, tensor in {**plain, **pooler}.items()}, **headed}


def leave_unnamed(task: str, head: TaskHead, names: Names, report: Report, program: str) -> None:
    """Report what of a head has no name in another program. Thresholds as they are without tuning are not missed."""
    for ours, tensor in head.weights.items():
        usual = {"null_threshold": 0.0, "threshold_C": 0.5}.get(ours)
        if ours in names or ours.rpartition(".")[0] in names or (usual is not None and bool((tensor == usual).all())):
            continue
        report.leave([f"tasks/{task}/{ours}"], f"{program} has no place for it")


def their_names(names: Names, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A head's weights under other names; those that the names do not know are left out."""
    out: dict[str, Tensor] = {}
    for ours, tensor in weights.items():
        stem, _, kind = ours.rpartition(".")
        if ours in names:
            out[names[ours]] = tensor
        elif stem in names:
            out[f"{names[stem]}.{kind}"] = tensor
    return out


def scaled(head: TaskHead) -> dict[str, Tensor]:
    """A head's weights; those of a regression answer in the labels' own units."""
    mean, std = float(head.spec.facts.get("mean", 0.0)), float(head.spec.facts.get("std", 1.0))
    if head.kind != "regression" or (mean, std) == (0.0, 1.0):
        return dict(head.weights)
    changed = {
        "output.weight": head.weights["output.weight"] * std,
        "output.bias": head.weights["output.bias"] * std + torch.tensor(mean),
    }
    return {**head.weights, **changed}
