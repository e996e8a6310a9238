"""A `.pt` of MT-DNN: transformers' encoder, and a head for each task of its definition YAML.

Sources: mt_dnn/matcher.py, mt_dnn/model.py, tasks/*.py, module/pooler.py, experiments/exp_def.py and
data_utils/task_def.py of github.com/namisan/mt-dnn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from braid.encoders.packed_module import PackedEncoder
from braid.errors import BraidError
from braid.tools.convert.hf_reading import span_head, tagging_head
from braid.tools.convert.kind import Kind, Options, Source, vocabulary
from braid.tools.convert.model import Model, TaskHead, check_sizes, fill, head, skeleton_of, variant_of
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import sizes_of, tensors_of
from braid.tools.convert.uer_config import read_settings

ENCODERS = {1: "bert", 2: "roberta"}
"""MT-DNN's `encoder_type`."""

TYPES = {
    "Classification": "classification",
    "Regression": "regression",
    "Ranking": "ranking",
    "SeqenceLabeling": "tagging",
    "SequenceLabeling": "tagging",
    "Span": "span",
}
"""Its task types, one of them spelt as it spells it, to ours."""

_SCORING = re.compile(r"scoring_list\.(\d+)\.(.+)")
_LINEAR = re.compile(r"(?:\d+\.)?(weight|bias)")
_POOLER = re.compile(r"(?:\d+\.)?(?:pooler\.)?dense\.(weight|bias)")


class MtDnn(Kind):
    """`state`: an encoder under `bert.`, and `scoring_list.N`, the head of the task that was the N-th in training."""

    name: ClassVar[str] = "mtdnn"
    title: ClassVar[str] = "a .pt of MT-DNN"
    writes: ClassVar[bool] = False
    orders_tasks: ClassVar[bool] = True

    def recognises(self, source: Source) -> bool:
        tensors, _ = _state(source)
        return (
            tensors is not None
            and any(name.startswith("bert.") for name in tensors)
            and (any(name.startswith("scoring_list.") for name in tensors) or "state" in source.content)
        )

    def read(self, source: Source, options: Options, report: Report) -> Model:
        tensors, settings = _state(source)
        assert tensors is not None
        if options.config is not None:
            settings = {**settings, **read_settings(options.config)}
        encoder = _encoder(tensors, settings, source.path, report)
        definitions = _definitions(options.task_def, source.path)
        heads = _heads(tensors, settings, definitions, encoder, options, report, source.path)
        report.leave((name for name in tensors if name not in report.mapped and name not in report.unmapped), "unknown")
        tokenizer = vocabulary(options, None, encoder.vocab_size, report)
        return Model(encoder, variant_of(encoder.hf_config(), str(source.path)), heads, tokenizer)


def _state(source: Source) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """The tensors and the settings that a file holds."""
    content = source.content
    if isinstance(content, dict) and isinstance(content.get("state"), dict):
        settings = content.get("config")
        return tensors_of(content["state"]), dict(settings) if isinstance(settings, dict) else {}
    return tensors_of(content), {}


def _encoder(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path, report: Report) -> PackedEncoder:
    """The encoder under `bert.`. Raises BraidError for one that is neither BERT's nor RoBERTa's, or not whole."""
    sizes = sizes_of(
        {name.removeprefix("bert."): tensor for name, tensor in tensors.items() if name.startswith("bert.")}
    )
    number = settings.get("encoder_type", 1)
    kind = settings.get("model_type") or ENCODERS.get(number if isinstance(number, int) else 0)
    if kind not in ("bert", "roberta"):
        raise BraidError(f"{path}: encoder_type {number!r}, expected 1 (BERT) or 2 (RoBERTa)")
    word = sizes.get("embeddings.word_embeddings.weight")
    inner = next((size for name, size in sizes.items() if name.endswith("layer.0.intermediate.dense.weight")), None)
    position = sizes.get("embeddings.position_embeddings.weight")
    if word is None or inner is None or position is None:
        raise BraidError(f"{path}: the encoder's embeddings or first layer are missing; the file is not whole")
    layers = 1 + max(int(match[1]) for name in sizes if (match := re.match(r"encoder\.layer\.(\d+)\.", name)))
    if "num_attention_heads" not in settings:
        report.missing["num_attention_heads"] = f"taken for {max(1, word[1] // 64)}, heads of 64 (--config)"
    roberta = kind == "roberta"
    config: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": word[0],
        "hidden_size": word[1],
        "num_hidden_layers": layers,
        "num_attention_heads": int(settings.get("num_attention_heads", max(1, word[1] // 64))),
        "intermediate_size": inner[0],
        "max_position_embeddings": position[0],
        "type_vocab_size": sizes.get("embeddings.token_type_embeddings.weight", (2,))[0],
        "hidden_act": settings.get("hidden_act", "gelu"),
        "hidden_dropout_prob": float(settings.get("hidden_dropout_prob", 0.1)),
        "attention_probs_dropout_prob": float(settings.get("attention_probs_dropout_prob", 0.1)),
        "layer_norm_eps": float(settings.get("layer_norm_eps", 1e-5 if roberta else 1e-12)),
        "pad_token_id": int(settings.get("pad_token_id", 1 if roberta else 0)),
    }
    encoder = skeleton_of(variant_of(config, str(path)), config, path)
    assert isinstance(encoder, PackedEncoder)
    state, shape = encoder.state_dict(), encoder.shape
    found = {today.removeprefix("bert."): real for today, real in _today(tensors).items()}
    wanted = encoder.layout.wanted(state, shape)
    check_sizes(wanted, sizes_of({name: tensors[real] for name, real in found.items()}), path, "its settings")
    theirs = {name: tensors[found[name]] for name in wanted}
    fill(encoder, encoder.layout.from_theirs(theirs, state, shape))
    report.map((found[name] for name in wanted), "encoder")
    pooler = [found.get(f"pooler.dense.{part}") for part in ("weight", "bias")]
    if pooler[0] is not None and pooler[1] is not None:
        encoder.keep_pooler(tensors[pooler[0]].float(), tensors[pooler[1]].float())
        report.map([pooler[0], pooler[1]], "encoder")
    report.leave((name for name in tensors if name.endswith("position_ids")), "computed anew, no weight")
    return encoder


def _today(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the encoder, the oldest's norms in today's spelling."""
    spelt = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
    out = {}
    for name in tensors:
        if name.startswith("bert."):
            new = name
            for old, today in spelt:
                new = new.replace(old, today)
            out[new] = name
    return out


def _definitions(path: Path | None, where: Path) -> dict[str, dict[str, Any]]:
    """The tasks of a definition YAML. Raises BraidError."""
    if path is None:
        return {}
    from ruamel.yaml import YAML, YAMLError

    if not path.is_file():
        raise BraidError(f"--task-def: there is no file {path.resolve()}")
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise BraidError(f"{path} is no YAML: {error}") from error
    tasks = {str(name): given for name, given in content.items()} if isinstance(content, dict) else {}
    wrong = [name for name, given in tasks.items() if not isinstance(given, dict) or "task_type" not in given]
    if not tasks or wrong:
        raise BraidError(f"{path}: expected MT-DNN's tasks, each with a task_type; wrong: {', '.join(wrong) or 'all'}")
    return tasks


def _order(
    definitions: Mapping[str, Any], settings: Mapping[str, Any], options: Options, count: int, path: Path
) -> list[str]:
    """The names of the heads in their order: as the file or the user says, else the definition's. Raises BraidError."""
    trained = settings.get("train_datasets")
    if options.tasks is not None:
        names = list(options.tasks)
    elif isinstance(trained, list | tuple):
        names = list(dict.fromkeys(str(name).split("_")[0] for name in trained))
    else:
        names = list(definitions)
    unknown = [name for name in names if name not in definitions]
    if len(names) != count or unknown:
        raise BraidError(
            f"{path} has {count} heads, in the order in which tasks were trained; "
            f"found {len(names)} names ({', '.join(names) or 'none'})"
            + (f", of which the definition lacks {', '.join(unknown)}" if unknown else "")
            + ". Say them with --task-def and, in order, --task a,b,c"
        )
    return names


def _heads(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    definitions: Mapping[str, dict[str, Any]],
    encoder: PackedEncoder,
    options: Options,
    report: Report,
    path: Path,
) -> dict[str, TaskHead]:
    parts: dict[int, dict[str, str]] = {}
    for name in tensors:
        if match := _SCORING.fullmatch(name):
            parts.setdefault(int(match[1]), {})[match[2]] = name
    if not parts:
        return {}
    if not definitions:
        report.leave(
            (name for names in parts.values() for name in names.values()),
            "the task definition YAML says what it is; give it with --task-def",
        )
        return {}
    heads = {}
    for (_, names), task in zip(
        sorted(parts.items()), _order(definitions, settings, options, len(parts), path), strict=True
    ):
        made = _head(task, definitions[task], names, tensors, encoder, report, path)
        if made is not None:
            heads[task] = made
    return heads


def _head(
    task: str,
    definition: Mapping[str, Any],
    names: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    encoder: PackedEncoder,
    report: Report,
    path: Path,
) -> TaskHead | None:
    """A task's head; None, reported, for one that none of ours computes."""
    kind = TYPES.get(str(definition["task_type"]))
    if kind is None:
        report.leave(names.values(), f"task {task}: no head for its type {definition['task_type']}")
        return None
    linear = {match[1]: real for inner, real in names.items() if (match := _LINEAR.fullmatch(inner))}
    pooled = {match[1]: real for inner, real in names.items() if (match := _POOLER.fullmatch(inner))}
    other = [real for real in names.values() if real not in (*linear.values(), *pooled.values())]
    if other or len(linear) != 2:
        reason = "a stochastic answer network, which Braid's reads otherwise" if other else "no single linear layer"
        report.leave(names.values(), f"task {task}: {reason}")
        return None
    last = "classifier" if kind in ("classification", "tagging", "span") else "output"
    weights = {f"{last}.{part}": tensors[real] for part, real in linear.items()}
    if kind in ("classification", "regression", "ranking"):
        weights |= _pooler(pooled, tensors, encoder, path)
    report.map([*linear.values(), *pooled.values()], task)
    if kind == "regression":
        return head(kind, weights, {"mean": 0.0, "std": 1.0})
    if kind == "ranking":
        return head(kind, weights, {"highest": 1.0})
    if kind == "span":
        return span_head(weights)
    labels = _labels(task, definition, len(weights[f"{last}.bias"]), path, report)
    if kind == "tagging":
        return tagging_head(weights, labels)
    return head(kind, weights, {"labels": labels, "soft": False})


def _pooler(
    own: Mapping[str, str], tensors: Mapping[str, Tensor], encoder: PackedEncoder, path: Path
) -> dict[str, Tensor]:
    """The dense layer behind the first token: the head's own, the network's, or the encoder's."""
    if len(own) == 2:
        return {f"features.dense.{part}": tensors[real] for part, real in own.items()}
    if "pooler.dense.weight" in tensors and "pooler.dense.bias" in tensors:
        return {f"features.dense.{part}": tensors[f"pooler.dense.{part}"] for part in ("weight", "bias")}
    if encoder.pooler is None:
        raise BraidError(f"{path}: no pooler (bert.pooler.dense or pooler.dense), which the heads need")
    return {"features.dense.weight": encoder.pooler[0], "features.dense.bias": encoder.pooler[1]}


def _labels(task: str, definition: Mapping[str, Any], count: int, path: Path, report: Report) -> list[str]:
    given = definition.get("labels")
    if given is None:
        report.notes.append(f"task {task}: the definition names no labels; they are called 0 to {count - 1}")
        return [str(number) for number in range(count)]
    labels = [str(label) for label in given]
    if len(labels) != count:
        raise BraidError(f"{path}: the head of {task} has {count} classes, the definition names {len(labels)} labels")
    return labels
