"""`braid convert`: other projects' models in and out.

A kind of model files is one file of `kinds`. All are read into Braid's own encoder and heads, and written from them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from braid.errors import BraidError
from braid.tools.convert.finding import chosen, recognised
from braid.tools.convert.kind import Kind, Options, Source
from braid.tools.convert.model import Model
from braid.tools.convert.report import Report

MODEL_TYPES = ("bert", "roberta", "xlm-roberta")

__all__ = ["Report", "convert"]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    overwrite: bool = False,
    tasks: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    vocab: str | os.PathLike[str] | None = None,
    lowercase: bool | None = None,
    task_type: str | None = None,
    task_def: str | os.PathLike[str] | None = None,
    model_type: str | None = None,
    exact_norms: bool = False,
) -> Report:
    """Write the model at `source`, whose kind its content tells, as another kind at `target`.

    *to*: `braid`, `transformers`, `uer` or `tensorflow`; None: as the name of `target` says (`.bin` is `uer`), else a
    run directory, or transformers' of a run directory. The others: see `braid.tools.convert.kind.Options`.

    Raises BraidError, before anything is written, for what cannot be read, does not fit together, cannot be held by
    the other kind, or would overwrite what is there (unless *overwrite*)."""
    given, wanted = Source(Path(source).expanduser()), Path(target).expanduser()
    kind = recognised(given)
    out = chosen(to, wanted, kind)
    _check_target(given, wanted, out, overwrite=overwrite)
    if isinstance(labels, str) or isinstance(tasks, str):
        raise BraidError("`labels` and `tasks` are lists of names")
    if model_type not in (None, *MODEL_TYPES):
        raise BraidError(f"--model-type {model_type}: expected {' or '.join(MODEL_TYPES)}")
    asked = Options(
        config=_path(config),
        vocab=_path(vocab),
        task_def=_path(task_def),
        labels=None if labels is None else tuple(labels),
        tasks=None if tasks is None else tuple(tasks),
        lowercase=lowercase,
        task_type=task_type,
        model_type=model_type,
        exact_norms=exact_norms,
    )
    report = Report()
    model = kind.read(given, asked, report)
    if not kind.orders_tasks:
        model = _chosen_tasks(model, asked, report)
    report.source = f"{source}: {kind.title} ({_described(model)})"
    report.target = f"{target}: {out.title}"
    out.write(model, wanted, asked, report)
    return report


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _described(model: Model) -> str:
    encoder = model.encoder
    kind = str(encoder.hf_config().get("model_type")).removeprefix("braid-")
    heads = "".join(f", {name}" for name in model.heads)
    return f"{kind}, {encoder.n_layers} layers of {encoder.hidden_size}, {encoder.vocab_size:,} tokens{heads}"


def _chosen_tasks(model: Model, options: Options, report: Report) -> Model:
    """The model with the heads that are wanted. Raises BraidError for one that it does not have."""
    if options.tasks is None:
        return model
    unknown = [name for name in options.tasks if name not in model.heads]
    if unknown:
        have = ", ".join(model.heads) or "none"
        raise BraidError(f"there is no task {', '.join(map(repr, unknown))}; the model has: {have}")
    report.leave((f"tasks/{name}" for name in model.heads if name not in options.tasks), "not asked for")
    return model.with_heads({name: model.heads[name] for name in options.tasks})


def _check_target(source: Source, target: Path, out: Kind, *, overwrite: bool) -> None:
    """Raises BraidError where something stands in the way."""
    if target.resolve() == source.path.resolve():
        raise BraidError(f"{target} is what is to be read; write it somewhere else")
    there = [path for path in out.outputs(target) if path.exists() and not _empty(path)]
    if there and not overwrite:
        raise BraidError(f"{', '.join(map(str, there))} exists; --overwrite replaces it")
    directory = not out.suffixes
    if target.exists() and target.is_dir() != directory:
        found, expected = ("a directory", "a file") if target.is_dir() else ("a file", "a directory")
        raise BraidError(f"{target} is {found}; {out.title} is {expected}")
    if directory and target.is_dir() and not _empty(target):
        try:
            recognised(Source(target))
        except BraidError:
            raise BraidError(f"{target} holds something that is no model; it is not replaced") from None


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
