"""`braid export`: a run as one graph, checked against the run before anything takes its place."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from braid.checkpoint.files import replace_directory, write_json
from braid.checkpoint.model_files import file_sha256
from braid.data.example import Example
from braid.errors import BraidError, did_you_mean
from braid.export.graph import EMBEDDING, Graph, refusals
from braid.export.manifest import FORMAT, MANIFEST
from braid.export.model import ExportedModel, is_exported
from braid.export.parity import TOLERANCE, Agreement, agreement
from braid.export.session import FILES
from braid.export.speakers import write_speaker
from braid.export.writing import write_int8, write_onnx, write_torch
from braid.model.evaluate import Scores, evaluate
from braid.predict.inputs import example_of
from braid.predict.model import Model

Target = Literal["onnx", "torch"]

COMPARED = 200
"""Dev examples of each task that both models predict, beside `SPECIMENS` of the task type's own."""
SPECIMENS = 24


@dataclass(frozen=True)
class Exported:
    """What was exported: *tasks*, and those *left_out* with the reason; how far the graph agrees with the run
    (*parity*: task -> agreement) and every task's dev figures of both (*before*, *after*: empty without dev data);
    *sizes*: bytes of the run's weights and of the graph."""

    directory: Path
    tasks: list[str]
    left_out: dict[str, str]
    parity: dict[str, Agreement]
    before: Scores
    after: Scores
    main: dict[str, str]
    lower: dict[str, bool]
    sizes: tuple[int, int]

    def falls(self) -> dict[str, float]:
        """How far each task's main figure fell on dev (below zero: it rose)."""
        out = {}
        for task, metric in self.main.items():
            if task in self.before and task in self.after:
                change = self.before[task][metric] - self.after[task][metric]
                out[task] = -change if self.lower[task] else change
        return out


def export(
    run: Path,
    *,
    to: Target = "onnx",
    out: Path | None = None,
    tasks: Sequence[str] | None = None,
    int8: bool = False,
    tolerance: float = 0.005,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Export the encoder and the heads of a run as one graph that takes any number of rows of any length.

    *out*: the directory, RUN-onnx (or -torch, -int8) beside the run where it is None. *tasks*: only these. *int8*:
    weights of the encoder as int8, activations quantised as they come; the figure of every task on its dev data is
    taken before and after.

    Raises BraidError, and leaves nothing behind, where a task that was asked for cannot be exported, where the graph
    does not predict what the run predicts, or where a figure falls by more than *tolerance*."""
    if int8 and to != "onnx":
        raise BraidError("--int8 needs --to onnx: it is ONNX Runtime that has the int8 kernels")
    if to not in FILES:
        raise BraidError(f"--to {to}: {did_you_mean(to, FILES)}")
    if is_exported(run):
        raise BraidError(f"{run} is exported already; give the run that it was made from")
    whole = run if run.name not in ("", "..") else run.resolve()
    directory = out or whole.with_name(f"{whole.name}-{'int8' if int8 else to}")
    _check_free(directory, overwrite)
    ours = Model.load(run, tasks=tasks, device="cpu", precision="fp32")
    left_out = refusals(ours.network.specs, dict(ours.network.heads()))
    if tasks is not None and left_out:
        raise BraidError("\n".join(f"task {name!r} cannot be exported: {why}" for name, why in left_out.items()))
    chosen = [name for name in ours.network.specs if name not in left_out]
    for name, why in left_out.items():
        say(f"task {name!r} is left out: {why}")
    graph = Graph(ours.network, chosen)
    found: list[Exported] = []

    def fill(folder: Path) -> None:
        say(f"tracing {len(chosen)} tasks into one graph")
        opset = _write(graph, folder, to, int8=int8)
        manifest = _manifest(ours, graph, folder, to, int8=int8, opset=opset, left_out=left_out)
        _copy(run, folder, ours, chosen)
        write_json(folder / MANIFEST, manifest)
        theirs = ExportedModel.load(folder, trusted=True)
        exported = _compared(ours, theirs, directory, chosen, left_out, folder / FILES[to], say)
        _require(exported, int8=int8, tolerance=tolerance)
        write_json(folder / MANIFEST, {**manifest, **_findings(exported, tolerance)})
        found.append(exported)

    try:
        replace_directory(directory, fill)
    finally:
        shutil.rmtree(directory.with_name(f".{directory.name}.new"), ignore_errors=True)
    return found[0]


def _check_free(directory: Path, overwrite: bool) -> None:
    """Raises BraidError rather than replace anything but an older export that may go."""
    if not directory.exists():
        return
    if not is_exported(directory):
        raise BraidError(f"{directory} is there and is no export; choose another --out")
    if not overwrite:
        raise BraidError(f"{directory} is there already; --overwrite replaces it, --out names another")


def _write(graph: Graph, folder: Path, to: Target, *, int8: bool) -> int | None:
    path = folder / FILES[to]
    if to == "torch":
        write_torch(graph, path)
        return None
    if not int8:
        return write_onnx(graph, path)
    whole = folder / "fp32.onnx"
    opset = write_onnx(graph, whole)
    write_int8(whole, path)
    for rest in folder.glob("fp32.onnx*"):
        rest.unlink()
    return opset


def _manifest(
    ours: Model, graph: Graph, folder: Path, to: Target, *, int8: bool, opset: int | None, left_out: dict[str, str]
) -> dict[str, Any]:
    specs, encoder = ours.network.specs, ours.network.encoder
    return {
        "format": FORMAT,
        "to": to,
        "precision": "int8" if int8 else "fp32",
        "file": FILES[to],
        "file_sha256": file_sha256(folder / FILES[to]),
        "opset": opset,
        "inputs": list(graph.inputs),
        "answers": graph.answers,
        "embedding": EMBEDDING,
        "tasks": {
            name: {"type": specs[name].task.type, "labels": specs[name].facts.get("labels")} for name in graph.tasks
        },
        "left_out": left_out,
        "max_length": ours.max_length,
        "stride": ours.stride,
        "encoder": {
            "class": type(encoder).__name__,
            "sha256": ours.encoder_sha256,
            "hidden_size": encoder.hidden_size,
            "n_states": encoder.n_states,
            "vocab_size": encoder.vocab_size,
            "pad_id": ours.tokenizer.pad_id,
        },
        "versions": _versions(to),
    }


def _copy(run: Path, folder: Path, ours: Model, tasks: Sequence[str]) -> None:
    """What the graph does not hold: tokenizer, labels and what decodes, and where the run's data is."""
    shutil.copytree(
        run / "encoder",
        folder / "tokenizer",
        ignore=lambda _, names: [name for name in names if name.endswith(".safetensors") or name == "braid.json"],
    )
    for name in tasks:
        shutil.copytree(run / "tasks" / name, folder / "tasks" / name)
        network = ours.network
        write_speaker(folder / "tasks" / name, network.specs[name], network.head(name), ours.encoder_sha256)
    for name in ("recipe.yaml", "environment.json"):
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)


def _compared(
    ours: Model,
    theirs: ExportedModel,
    directory: Path,
    tasks: list[str],
    left_out: dict[str, str],
    path: Path,
    say: Callable[[str], None],
) -> Exported:
    """Both models on the same inputs: the task types' own specimens, and the run's dev data where it is there."""
    specs = ours.network.specs
    examples: dict[str, list[Example]] = {
        name: [example_of(row) for row in specs[name].labelled.specimens(SPECIMENS)] for name in tasks
    }
    before: Scores = {}
    after: Scores = {}
    try:
        groups = [group for group in theirs.groups("dev") if group.labelled] if tasks else []
    except BraidError as error:
        say(f"no figures: the run's dev data cannot be read ({str(error).splitlines()[0]:.160})")
        groups = []
    for group in groups:
        for name in group.labelled:
            examples[name] += group.examples[:COMPARED]
    say("comparing predictions")
    parity = agreement(ours, theirs, examples, tasks=tasks)
    if groups:
        say(f"taking dev figures of both: {sum(len(group) for group in groups):,} rows")
        before = evaluate(ours.network, groups, batch_tokens=ours.batch_tokens)
        after = theirs.scores(groups)
    weights = sum(weight.numel() * weight.element_size() for weight in ours.network.parameters())
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    main = {name: specs[name].task.best(specs[name].facts) for name in tasks}
    lower = {name: main[name] in specs[name].task.lower_is_better for name in tasks}
    return Exported(directory, tasks, left_out, parity, before, after, main, lower, (weights, size))


def _require(exported: Exported, *, int8: bool, tolerance: float) -> None:
    """Raises BraidError for a graph that is not the model that it was made from, or has lost too much of it."""
    lines = []
    for task, found in exported.parity.items():
        if not int8 and not found.exact:
            lines.append(
                f"task {task!r}: of {found.inputs} inputs {found.different} are predicted otherwise, and numbers "
                f"differ by up to {found.furthest:.2g} (allowed: {TOLERANCE:g})"
            )
    for task, fall in exported.falls().items():
        if fall > tolerance:
            metric = exported.main[task]
            lines.append(
                f"task {task!r}: {metric} on dev was {exported.before[task][metric]:.4f} and is "
                f"{exported.after[task][metric]:.4f} (it may fall by {tolerance:g}: --tolerance)"
            )
    if lines:
        raise BraidError(
            "\n    ".join(["nothing was exported, for the graph would not be as good as the run:", *lines])
        )


def _findings(exported: Exported, tolerance: float) -> dict[str, Any]:
    return {
        "parity": {task: found.to_json() for task, found in exported.parity.items()},
        "figures": {
            "split": "dev",
            "tolerance": tolerance,
            "before": exported.before,
            "after": exported.after,
        },
    }


def _versions(to: Target) -> dict[str, str]:
    """Of what made the graph, as far as it is installed."""
    names = ["braid-nlp", "torch", *(("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ())]
    out = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out
