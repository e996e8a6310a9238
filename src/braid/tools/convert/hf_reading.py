"""Heads of transformers' models -> tasks of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braid.data.tag_schemes import detect_scheme, is_typed
from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.tools.convert.hf_heads import HEADS, POOLER, Names, second_bias
from braid.tools.convert.kind import Options
from braid.tools.convert.model import TaskHead, head
from braid.tools.convert.report import Report

SAID = {
    "ForTokenClassification": "tagging",
    "ForQuestionAnswering": "span",
    "ForMultipleChoice": "multiple_choice",
}
"""Endings of architectures whose head is called as that of others."""

NO_HEAD = "the head of another class than Braid has"


def read_heads(
    config: Mapping[str, Any], found: Mapping[str, Tensor], encoder: Encoder, options: Options, report: Report
) -> dict[str, TaskHead]:
    """All heads that tensors beside the encoder's make up, by task names. What is used is reported as mapped."""
    rows = HEADS.get(str(config.get("model_type")), {})
    heads: dict[str, TaskHead] = {}
    for kind in _present(config, found, rows, options):
        names = rows[kind]
        weights = _weights(names, found, encoder)
        heads[kind] = _head(kind, config, weights, encoder, options)
        unused = _unused(names, found)
        report.leave(unused, "not added: the output layer has a bias of its own")
        report.map((name for name in found if _owned(name, names) and name not in unused), kind)
    return heads


def _present(
    config: Mapping[str, Any], found: Mapping[str, Tensor], rows: Mapping[str, Names], options: Options
) -> list[str]:
    """The task types whose head is there. Heads of several types have the same names; the architecture tells them."""
    architecture = str((config.get("architectures") or [""])[0])
    labelled = [kind for kind in rows if kind not in ("mlm", "nsp", "sop", "clm")]
    out = [kind for kind in ("mlm", "nsp", "sop") if kind in rows and _complete(rows[kind], found)]
    if "clm" in rows and (architecture.endswith("LMHeadModel") or "lm_head.weight" in found):
        out.append("clm")
    fitting = [kind for kind in labelled if _complete(rows[kind], found)]
    said = next((kind for ending, kind in SAID.items() if architecture.endswith(ending)), None)
    if architecture.endswith("ForSequenceClassification"):
        said = _row_type(config, found, rows)
    # A class whose head is none of ours may have one whose names look like another's.
    told = said is not None or re.search(r"(For\w+|LMHeadModel|[a-z0-9]Model)$", architecture) is not None
    wanted = options.task_type or said or (fitting[0] if len(fitting) == 1 and not told else None)
    if wanted is None and fitting and not told:
        raise BraidError(
            f"config.json does not say what the head is (architectures: {architecture or 'none'}); say --task-type "
            f"{' or '.join(fitting)}"
        )
    if options.task_type is not None and options.task_type not in [*fitting, *out]:
        raise BraidError(
            f"--task-type {options.task_type}: the file holds no such head; what it could hold: "
            f"{', '.join([*fitting, *out]) or 'none'}"
        )
    return out + [kind for kind in fitting if kind == wanted]


def _row_type(config: Mapping[str, Any], found: Mapping[str, Tensor], rows: Mapping[str, Names]) -> str | None:
    names = rows.get("classification")
    bias = found.get(f"{names['classifier']}.bias") if names else None
    if bias is None:
        return None
    if config.get("problem_type") == "multi_label_classification":
        return "multilabel"
    return "regression" if config.get("problem_type") == "regression" or len(bias) == 1 else "classification"


def _complete(names: Names, found: Mapping[str, Tensor]) -> bool:
    """Whether every part of a head is there; the vocabulary's vectors and a pooler stand elsewhere."""
    needed = [theirs for ours, theirs in names.items() if theirs != POOLER and ours != "predictor.words"]
    return bool(needed) and all(name in found or f"{name}.weight" in found for name in needed)


def _owned(name: str, names: Names) -> bool:
    stem = name.rpartition(".")[0]
    return any(theirs in (name, stem) for theirs in names.values()) or name == second_bias(names)


def _unused(names: Names, found: Mapping[str, Tensor]) -> list[str]:
    """The bias of an output layer that transformers loads but does not add."""
    own, other = found.get(second_bias(names) or ""), found.get(names.get("predictor.bias", ""))
    differ = own is not None and other is not None and not torch.equal(own, other)
    return [names["predictor.bias"]] if differ else []


def _weights(names: Names, found: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        if theirs == POOLER:
            if encoder.pooler is not None:
                out[f"{ours}.weight"], out[f"{ours}.bias"] = encoder.pooler
        elif theirs in found:
            out[ours] = found[theirs]
        elif f"{theirs}.weight" in found:
            out |= {f"{ours}.{kind}": found[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    own_bias = found.get(second_bias(names) or "")
    if own_bias is not None:
        out["predictor.bias"] = own_bias
    words = out.get("predictor.words")
    if words is not None and torch.equal(words.float(), encoder.word_embeddings):
        del out["predictor.words"]
    return out


def _head(
    kind: str, config: Mapping[str, Any], weights: dict[str, Tensor], encoder: Encoder, options: Options
) -> TaskHead:
    if kind in ("nsp", "sop"):
        return head(kind, weights, {})
    if kind in ("mlm", "clm"):
        return language_head(kind, weights, encoder)
    if kind == "span":
        return span_head(weights)
    pooler: dict[str, Any] = {} if "features.dense.weight" in weights or kind == "tagging" else {"pooler": False}
    if kind == "regression":
        return head(kind, weights, {"mean": 0.0, "std": 1.0}, **pooler)
    if kind == "multiple_choice":
        return head(kind, weights, {}, **pooler)
    labels = _labels(config, len(weights["classifier.bias"]), options)
    if kind == "tagging":
        return tagging_head(weights, labels)
    if kind == "multilabel":
        weights = {**weights, "threshold_C": torch.full((len(labels),), 0.5)}
        return head(kind, weights, {"labels": labels, "soft": False}, threshold=0.5, **pooler)
    return head(kind, weights, {"labels": labels, "soft": False}, **pooler)


def language_head(kind: str, weights: dict[str, Tensor], encoder: Encoder, *, size: int | None = None) -> TaskHead:
    """`mlm`, `clm` or `bilm`. *size*: of the vectors of the output layer; None: that of the word embeddings."""
    facts: dict[str, Any] = {
        "vocab_size": encoder.vocab_size,
        "embedding_size": size or encoder.word_embeddings.shape[1],
    }
    if kind == "mlm":
        facts |= {"activation": encoder.activation, "norm_eps": encoder.norm_eps}
    own: dict[str, Any] = {"tied_embeddings": False} if "predictor.words" in weights else {}
    if kind != "mlm" and "predictor.bias" in weights:
        own["output_bias"] = True
    return head(kind, weights, facts, **own)


def span_head(weights: dict[str, Tensor]) -> TaskHead:
    """Start and end of an answer. A context may hold none, which is only said where that scores higher."""
    return head("span", {**weights, "null_threshold": torch.zeros(())}, {"no_answer": True, "scorer": "squad_v2"})


def tagging_head(weights: dict[str, Tensor], labels: list[str], **own: Any) -> TaskHead:
    """A tag for each word; the scheme is seen from the tags."""
    scheme = detect_scheme(labels)
    segments = scheme != "plain" and not is_typed(labels) and "O" not in labels
    units = "characters" if segments else "words"
    facts = {"labels": labels, "scheme": scheme, "units": units, "spans": False, "iob1": False, "soft": False}
    return head("tagging", weights, facts, **own)


def _labels(config: Mapping[str, Any], count: int, options: Options) -> list[str]:
    """The labels of a head with `count` classes. Raises BraidError where --labels or id2label are of another count."""
    if options.labels is not None:
        if len(options.labels) != count:
            raise BraidError(f"the head has {count} classes, --labels names {len(options.labels)}")
        return list(options.labels)
    named = config.get("id2label")
    if not isinstance(named, dict) or not named:
        return [f"LABEL_{number}" for number in range(count)]
    labels = [str(named.get(str(number), named.get(number))) for number in range(count)]
    if len(named) != count or len(set(labels)) != count:
        raise BraidError(f"the head has {count} classes, id2label in config.json names {len(named)}; give --labels")
    return labels
