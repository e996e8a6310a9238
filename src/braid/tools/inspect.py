"""`braid inspect`: what a directory or file is, what is in it, and whether it is whole and loads."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from braid.checkpoint.files import read_mapping
from braid.checkpoint.model_files import file_sha256, load_model, task_names
from braid.checkpoint.state import newest_state, read_progress
from braid.config.recipe import Recipe
from braid.data.corpus import shards
from braid.data.vocabularies import load_tokenizer
from braid.errors import BraidError, nearest
from braid.tools.inspect_encoder import load_encoder, weight_files
from braid.tools.tensor_files import Part, TensorInfo, is_tensor_file, parts_of, program_of, read_tensor_file

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


@dataclass(frozen=True)
class TaskReport:
    """One head: its *type*, *labels*, *parameters*, and whether it was trained on the encoder that is there."""

    name: str
    type: str
    labels: list[str]
    parameters: int
    fits: bool


@dataclass
class Report:
    """What is at a path. *kind*: what it is, in words; *facts*: what there is to say of it; *parts*: parameters by
    part; *metrics*: split -> task -> metric; *tensors* by name; *loads*: whether Braid can use it as it is (None: it
    is nothing to load by itself); *problems*: what is missing, damaged or does not fit."""

    path: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    tasks: list[TaskReport] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    loads: bool | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(part.parameters for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "ok": self.ok, "parameters": self.parameters}

    def add_tensors(self, tensors: dict[str, TensorInfo], prefix: str = "") -> None:
        """More tensors, and the parts that they are."""
        self.tensors.update({prefix + name: info for name, info in tensors.items()})
        self.parts += parts_of(tensors)


def inspect(path: Path) -> Report:
    """Look at a run, a saved state, an encoder, a file of weights, a prepared corpus or a vocabulary.

    Nothing that is read can run code. Raises BraidError where there is nothing, or nothing that is known."""
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings)
        hint = f"; did you mean {str(path.parent / near)!r}?" if near else ""
        raise BraidError(f"there is no file or directory {path.resolve()}{hint}")
    for found, look in (
        ((path / "encoder").is_dir() or (path / "tasks").is_dir(), _run),
        ((path / "state").is_dir(), _unfinished),
        ((path / "folds.json").is_file(), _study),
        ((path / "sweep.json").is_file(), _study),
        ((path / "state.json").is_file(), _state),
        ((path / "task.json").is_file(), _task),
        ((path / "config.json").is_file(), _encoder),
        ((path / "index.json").is_file() or bool(shards.numbers(path)), _corpus),
        (any((path / name).is_file() for name in TOKENIZER_FILES) or bool(list(path.glob("*.model"))), _vocabulary),
    ):
        if found:
            return look(path)
    inside = sorted(item.name for item in path.iterdir())
    shown = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    raise BraidError(
        f"{path} is nothing that Braid knows: no run (encoder/, tasks/, state/), no encoder (config.json), no prepared "
        f"corpus (index.json), no vocabulary (tokenizer.json, vocab.txt). It holds {shown or 'nothing'}"
    )


def _run(path: Path) -> Report:
    report = Report(str(path), "a finished run" if (path / "metrics.json").is_file() else "a run")
    _recipe(path, report)
    folder, sha256 = path / "encoder", ""
    if not folder.is_dir():
        report.problems.append(f"{folder} is missing: heads alone predict nothing")
    else:
        _weights(folder, report)
        if (folder / "model.safetensors").is_file():
            sha256 = file_sha256(folder / "model.safetensors")
    for name in task_names(path):
        _head(path / "tasks" / name, sha256, report)
    if not task_names(path):
        report.problems.append(f"{path / 'tasks'} holds no task")
    metrics = _guarded(report, path / "metrics.json")
    report.metrics = {split: metrics[split] for split in ("dev", "test") if isinstance(metrics.get(split), dict)}
    trained = metrics.get("train")
    if isinstance(trained, dict):
        shown = {key.replace("_per_", " a "): trained.get(key) for key in ("steps", "seconds", "tokens_per_second")}
        report.facts.update({key: value for key, value in shown.items() if value is not None})
    report.loads = _loads(path, report)
    return report


def _loads(path: Path, report: Report) -> bool:
    """Whether the whole model can be used; what stands in its way goes to the problems, if nothing did so far."""
    try:
        loaded = load_model(path)
    except BraidError as error:
        if not report.problems:
            report.problems.append(str(error))
        return False
    network = loaded.network
    report.facts |= {
        "hidden size": network.encoder.hidden_size,
        "layers": network.encoder.n_layers,
        "vocabulary": loaded.tokenizer.vocab_size,
        "longest row": loaded.max_length,
    }
    return True


def _recipe(path: Path, report: Report) -> None:
    """What recipe.yaml and environment.json say."""
    if (path / "recipe.yaml").is_file():
        try:
            recipe = Recipe.load_saved(path / "recipe.yaml")
            report.facts |= {"name": recipe.name, "chain": recipe.chain, "seed": recipe.seed}
            report.facts["began as"] = recipe.encoder.pretrained or f"random weights ({recipe.encoder.type})"
        except BraidError as error:
            report.problems.append(str(error))
    else:
        report.problems.append(f"{path / 'recipe.yaml'} is missing: it predicts, but `braid evaluate` finds no data")
    environment = _guarded(report, path / "environment.json")
    versions = environment.get("versions") if isinstance(environment.get("versions"), dict) else {}
    known = {"braid": environment.get("braid"), "python": environment.get("python"), **(versions or {})}
    report.versions = {name: str(value) for name, value in known.items() if value}
    if environment.get("date"):
        report.facts["date"] = environment["date"]
    if environment.get("averaged"):
        report.facts["averaged from"] = [str(part.get("run")) for part in environment["averaged"]]


def _guarded(report: Report, path: Path) -> dict[str, Any]:
    """A JSON file's mapping; an empty one, and a problem, where it cannot be read."""
    try:
        return read_mapping(path)
    except BraidError as error:
        report.problems.append(str(error))
        return {}


def _weights(folder: Path, report: Report) -> None:
    """The tensors of a directory of transformers' layout."""
    try:
        for file in weight_files(folder):
            found = read_tensor_file(file)
            report.add_tensors(found.tensors)
    except BraidError as error:
        report.problems.append(str(error))


def _head(path: Path, sha256: str, report: Report) -> None:
    """One task of a run."""
    content = _guarded(report, path / "task.json")
    parameters = 0
    if (path / "head.safetensors").is_file():
        try:
            tensors = read_tensor_file(path / "head.safetensors").tensors
            parameters = sum(info.parameters for info in tensors.values())
            report.tensors.update({f"tasks/{path.name}/{name}": info for name, info in tensors.items()})
            report.parts.append(Part(f"head {path.name}", parameters, len(tensors)))
        except BraidError as error:
            report.problems.append(str(error))
    else:
        report.problems.append(f"{path / 'head.safetensors'} is missing")
    facts = content.get("facts")
    labels = facts.get("labels", []) if isinstance(facts, dict) else []
    known = content.get("encoder_sha256")
    fits = bool(sha256) and known == sha256
    if sha256 and content and not fits:
        report.problems.append(
            f"task {path.name!r} was trained on another encoder (sha256 {str(known)[:12]}..., here is {sha256[:12]}...)"
        )
    names = [str(label) for label in labels] if isinstance(labels, list) else []
    report.tasks.append(TaskReport(path.name, str(content.get("type")), names, parameters, fits))


def _unfinished(path: Path) -> Report:
    report = Report(str(path), "an unfinished run", loads=False)
    _recipe(path, report)
    state = newest_state(path)
    if state is None:
        report.problems.append(f"{path / 'state'} holds no whole state to resume from")
        return report
    _describe_state(state, report)
    report.facts["go on"] = "braid train RECIPE --resume"
    broken = [item.name for item in sorted((path / "state").glob("step-*")) if not _is_whole(item, path)]
    report.problems += [f"{path / 'state' / name} is not whole" for name in broken]
    return report


def _is_whole(state: Path, run: Path) -> bool:
    try:
        files = read_mapping(state / "state.json").get("files", {})
        return all((state / name).stat().st_size == size for name, size in files.items())
    except (BraidError, OSError, AttributeError):
        return False


def _state(path: Path) -> Report:
    report = Report(str(path), "a saved state of an unfinished run")
    if not _is_whole(path, path.parent):
        report.problems.append(f"{path} is not whole: files that state.json names are missing or of another size")
    _describe_state(path, report)
    return report


def _describe_state(state: Path, report: Report) -> None:
    try:
        progress = read_progress(state)
    except BraidError as error:
        report.problems.append(str(error))
        return
    report.facts |= {"newest state": state.name, "steps": progress.step, "epoch": progress.epoch + 1}
    report.facts |= {"tokens": progress.tokens, "seconds": round(progress.seconds, 1)}
    if progress.best_step is not None:
        report.facts["best so far"] = f"step {progress.best_step}, score {progress.best_score:.4f}"
    if progress.bad:
        report.facts["steps left out"] = progress.bad
    if (state / "weights.safetensors").is_file():
        try:
            report.add_tensors(read_tensor_file(state / "weights.safetensors").tensors)
        except BraidError as error:
            report.problems.append(str(error))
    elif (state / "shards").is_dir():
        report.facts["weights"] = "in shards (written by several processes)"


def _task(path: Path) -> Report:
    report = Report(str(path), "a task of a run (its head)")
    _head(path, "", report)
    report.facts["trained on encoder"] = str(_guarded(report, path / "task.json").get("encoder_sha256"))[:12] + "..."
    return report


def _encoder(path: Path) -> Report:
    ours = (path / "braid.json").is_file()
    report = Report(str(path), "an encoder of Braid" if ours else "a model in transformers' layout")
    config = _guarded(report, path / "config.json")
    names = {"model_type": "model type", "hidden_size": "hidden size", "num_hidden_layers": "layers"}
    names |= {"vocab_size": "embeddings", "max_position_embeddings": "positions", "transformers_version": "saved by"}
    report.facts |= {shown: config[key] for key, shown in names.items() if config.get(key) is not None}
    if "saved by" in report.facts:
        report.facts["saved by"] = f"transformers {report.facts['saved by']}"
    _weights(path, report)
    try:
        kind, encoder = load_encoder(path)
        report.loads = True
        report.facts["in a recipe"] = f"encoder: {{type: {kind}, pretrained: {path}}}"
        report.facts["longest row"] = encoder.max_positions
    except BraidError as error:
        report.loads = False
        report.problems.append(str(error))
    try:
        tokenizer = load_tokenizer(path)
        report.facts["vocabulary"] = tokenizer.vocab_size
        embeddings = report.facts.get("embeddings")
        if isinstance(embeddings, int) and tokenizer.vocab_size > embeddings:
            report.problems.append(
                f"the tokenizer has ids up to {tokenizer.vocab_size - 1:,}, the encoder only {embeddings:,} embeddings"
            )
    except BraidError as error:
        report.problems.append(str(error))
    return report


def _corpus(path: Path) -> Report:
    report = Report(str(path), "a prepared corpus")
    index = shards.read_index(path)
    numbers = shards.numbers(path)
    report.facts["parts"] = len(numbers)
    if index is None:
        report.problems.append(f"{path} is not whole: `braid prepare` has not finished it; run it again to go on")
    else:
        report.facts |= {key: index[key] for key in ("tokens", "sentences", "documents") if key in index}
        if index.get("left_out"):
            report.facts["left out"] = index["left_out"]
        report.facts["tokenizer"] = str(index.get("tokenizer"))[:12] + "..."
    found = 0
    for number in numbers:
        try:
            found += len(shards.read_part(shards.part_folder(path, number)).ids)
        except BraidError as error:
            report.problems.append(str(error))
    if index is not None and not report.problems and index.get("tokens") != found:
        report.problems.append(f"index.json says {index.get('tokens')} tokens, the parts hold {found}: one is missing")
    report.loads = report.ok
    return report


def _vocabulary(path: Path) -> Report:
    report = Report(str(path), "a vocabulary")
    try:
        tokenizer = load_tokenizer(path)
        report.loads = True
        report.facts |= {
            "tokens": tokenizer.vocab_size,
            "type": type(tokenizer.rust.model).__name__,
            "for example": " ".join(tokenizer.tokens(_example(tokenizer))),
            "in a recipe": f"encoder: {{vocab: {path}, ...}}",
        }
    except BraidError as error:
        report.loads = False
        report.problems.append(str(error))
    return report


def _example(tokenizer: Any) -> list[int]:
    return [int(one) for one in next(iter(tokenizer.encode_ids(["Braid reads 北京 and Paris."])))]


def _study(path: Path) -> Report:
    folds = (path / "folds.json").is_file()
    report = Report(str(path), "the folds of a recipe" if folds else "a sweep over recipes")
    content = _guarded(report, path / ("folds.json" if folds else "sweep.json"))
    report.facts |= {key: value for key, value in content.items() if isinstance(value, int | str)}
    stem = "fold" if folds else "trial"
    runs = [item for item in path.glob(f"{stem}-*") if item.is_dir()]
    runs.sort(key=lambda item: int(re.sub(r"\D", "", item.name) or 0))
    report.facts["runs"] = {run.name: "finished" if (run / "metrics.json").is_file() else "unfinished" for run in runs}
    return report


def _file(path: Path) -> Report:
    if not is_tensor_file(path):
        if path.suffix in (".yaml", ".yml"):
            raise BraidError(f"{path} is no model but, by its name, a recipe; try: braid check {path}")
        if ".ckpt" in path.name or path.suffix in (".index", ".meta"):
            raise BraidError(f"{path} is, by its name, part of a TensorFlow checkpoint, which needs to be converted")
        raise BraidError(
            f"{path} is no file of weights (.safetensors, .bin, .pt, .pth, .ckpt) and no directory; data is looked at "
            "by `braid check RECIPE`"
        )
    found = read_tensor_file(path)
    program = program_of(found.tensors, found.beside)
    report = Report(str(path), program or "tensors of a program that is not known")
    report.facts["size"] = f"{path.stat().st_size / 1e6:,.1f} MB"
    dtypes = sorted({info.dtype for info in found.tensors.values()})
    report.facts |= {"tensors": len(found.tensors), "dtypes": ", ".join(dtypes)}
    if found.beside:
        report.facts["beside the weights"] = ", ".join(found.beside)
    if found.notes:
        report.facts["notes"] = ", ".join(f"{key}: {value}" for key, value in found.notes.items())
    report.add_tensors(found.tensors)
    tied = [name for name, info in found.tensors.items() if info.repeats]
    if tied:
        report.facts["tied"] = ", ".join(f"{name} is {found.tensors[name].repeats}" for name in tied[:5])
    return report
