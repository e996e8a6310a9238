"""Teachers in memory: found, checked against the student, asked about a batch.

Shape legend: T tokens, R rows, N logit vectors of them, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from braid.checkpoint.model_files import file_sha256, load_model
from braid.config.distillation import TeacherConfig
from braid.config.families import EncoderConfig
from braid.data.batch import Batch, Targets
from braid.data.packing import select_rows
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import load_tokenizer
from braid.encoders.base import EncoderVariant
from braid.encoders.pretrained import locate
from braid.errors import BraidError, LabelError, did_you_mean
from braid.model.corpora import text_facts
from braid.model.inference import Precision
from braid.model.network import BraidModel, TaskSpec
from braid.nn.prepacked import prepack
from braid.tasks.mlm import Mlm
from braid.tasks.soft import Translate


@dataclass(frozen=True)
class Lesson:
    """What a teacher says to one of our tasks: the logits of its own task *name*, and how they become ours."""

    name: str
    translate: Translate


@dataclass(frozen=True, eq=False)
class Taught:
    """What a teacher says of a batch. *batch*: the rows that it read; *tokens* [T]: where their tokens stand in ours
    (None: everywhere); *states*: the teacher's, where they were asked for; *soft*: our task -> logits [N, C] and their
    sizes [R]."""

    batch: Batch
    tokens: Tensor | None
    states: tuple[Tensor, ...]
    soft: dict[str, tuple[Tensor, Tensor]]


@dataclass(eq=False)
class Teacher:
    """One teacher with what it teaches, by our tasks' names (None: hidden states alone). *run*: what the recipe calls
    it; *directory*: where it was read from; *files*: sha256 of what was read, by path in there."""

    run: str
    directory: Path
    network: BraidModel
    lessons: dict[str, Lesson | None]
    files: dict[str, str]

    def to(self, device: torch.device, precision: Precision) -> None:
        """Be ready to be asked."""
        self.network.to(device).eval().requires_grad_(False)
        if precision == "bf16":
            prepack(self.network, torch.bfloat16)

    def __call__(self, batch: Batch, scope: AbstractContextManager[object], *, states: bool) -> Taught | None:
        """What it says of the rows that have a target of its tasks; None where there are none. *states*: whether hidden
        states are wanted too."""
        mine = {task: batch.targets[task] for task in self.lessons if task in batch.targets}
        if not mine:
            return None
        ours, tokens, mine = _rows_of(batch, mine)
        asked = {task: lesson for task, lesson in self.lessons.items() if lesson is not None and task in mine}
        read = replace(ours, targets={lesson.name: mine[task] for task, lesson in asked.items()})
        rows = {name: targets.rows for name, targets in read.targets.items()}
        soft = {}
        with torch.no_grad(), scope:
            hidden = self.network.encoded(read, None if states else rows)
            for task, lesson in asked.items():
                head = self.network.head(lesson.name)
                seen = head.mixed(replace(hidden, targets=mine[task]))
                logits_NC, sizes_R = head.soft_targets(seen, mine[task].rows)
                soft[task] = lesson.translate(logits_NC.float()), sizes_R
        return Taught(replace(ours, targets=mine), tokens, hidden.layers if states else (), soft)


def _rows_of(batch: Batch, mine: dict[str, Targets]) -> tuple[Batch, Tensor | None, dict[str, Targets]]:
    """The rows of a batch that have any of these targets, the places of their tokens, and the targets counted among
    these rows. All rows are the batch itself, places None."""
    if any(len(targets.rows) == batch.n_rows for targets in mine.values()):
        return batch, None, mine
    rows = torch.cat([targets.rows for targets in mine.values()]).unique()
    if len(rows) == batch.n_rows:
        return batch, None, mine
    keep = torch.zeros(batch.n_rows, dtype=torch.bool, device=rows.device)
    keep[rows] = True
    tokens = keep.repeat_interleave(batch.cu_seqlens.diff(), output_size=batch.n_tokens).nonzero().squeeze(1)
    moved = {task: replace(t, rows=torch.searchsorted(rows, t.rows)) for task, t in mine.items()}
    return select_rows(batch, rows.tolist()), tokens, moved


def load_teachers(
    configs: Mapping[str, TeacherConfig],
    specs: Mapping[str, TaskSpec],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    variant: EncoderConfig,
) -> list[Teacher]:
    """The teachers of a recipe's tasks; one that teaches several tasks is there once. *specs*: all of our tasks;
    *variant*: the student's, which reads encoders that are no run of ours.

    Raises BraidError for a teacher that is not there, or that does not fit the student."""
    runs: dict[str, dict[str, TeacherConfig]] = {}
    for task, config in configs.items():
        runs.setdefault(config.run, {})[task] = config
    # A student begins with the same weights whether it has teachers or not.
    with torch.random.fork_rng(devices=[]):
        return [
            _load(run, part, specs, tokenizer, max_length, variant)
            for run, wanted in runs.items()
            for part in _distinct(wanted)
        ]


def _distinct(wanted: Mapping[str, TeacherConfig]) -> list[dict[str, TeacherConfig]]:
    """What one run is to teach, divided so that no two of our tasks in a part have the same task for a teacher."""
    rounds: list[dict[str, TeacherConfig]] = []
    for task, config in wanted.items():
        name = config.task or task
        free = (part for part in rounds if all((c.task or t) != name for t, c in part.items()))
        found = next(free, None)
        if found is None:
            rounds.append(found := {})
        found[task] = config
    return rounds


def _load(
    run: str,
    wanted: Mapping[str, TeacherConfig],
    specs: Mapping[str, TaskSpec],
    tokenizer: Tokenizer,
    max_length: int,
    variant: EncoderConfig,
) -> Teacher:
    where = f"distill.teachers.{next(iter(wanted))}"
    names = {task: config.task or task for task, config in wanted.items() if config.logits}
    path = directory = Path(run).expanduser()
    if (path / "tasks").is_dir() or (path / "state").is_dir():
        _check_names(run, path, names)
        loaded = load_model(path, tasks=list(names.values()))
        _check_tokens(where, run, loaded.tokenizer, tokenizer)
        network = loaded.network
        files = [path / "encoder" / "model.safetensors"]
        files += [path / "tasks" / name / "head.safetensors" for name in names.values()]
    elif not path.exists() and any(not isinstance(specs[task].task, Mlm) for task in names):
        raise BraidError(f"{where}: there is no run directory {path.resolve()}; train the teacher first")
    else:
        network, directory = _pretrained(run, where, names, specs, tokenizer, variant)
        files = sorted(directory.glob("*.safetensors"))
    limit = network.encoder.max_positions
    if limit is not None and limit < max_length:
        raise BraidError(
            f"{where}: the teacher {run} reads rows of {limit:,} tokens, the student's are up to {max_length:,} long; "
            f"set encoder.max_length={limit}"
        )
    lessons = {task: _lesson(task, names.get(task), network, specs, run) for task in wanted}
    hashes = {file.relative_to(directory).as_posix(): file_sha256(file) for file in files}
    return Teacher(run, directory, network, lessons, hashes)


def _lesson(task: str, name: str | None, network: BraidModel, specs: Mapping[str, TaskSpec], run: str) -> Lesson | None:
    if name is None:
        return None
    where, ours, theirs = f"distill.teachers.{task}", specs[task], network.specs[name]
    if ours.task.type != theirs.task.type:
        raise BraidError(f"{where}: {name!r} of {run} is a {theirs.task.type} task, {task!r} is {ours.task.type}")
    if ours.facts.get("soft"):
        raise BraidError(f"{where}: its training rows carry a teacher's logits already; leave out one of the two")
    try:
        return Lesson(name, ours.task.translation(theirs.facts, ours.facts))
    except LabelError as error:
        todo = (
            ""
            if ours.predicts and hasattr(ours.task, "soft")
            else (f"; with `distill.hidden` it learns from hidden states: {task}: {{run: {run}, logits: false}}")
        )
        raise BraidError(f"{where} ({run}): {error}{todo}") from error


def _check_names(run: str, path: Path, names: Mapping[str, str]) -> None:
    there = sorted(entry.name for entry in (path / "tasks").iterdir()) if (path / "tasks").is_dir() else []
    for task, name in names.items():
        if name not in there:
            raise BraidError(
                f"distill.teachers.{task}: {run} has no task {name!r}: {did_you_mean(name, there)}. Where it has "
                f"another name, say so: {task}: {{run: {run}, task: NAME}}"
            )


def _check_tokens(where: str, run: str, theirs: Tokenizer, ours: Tokenizer) -> None:
    if theirs.rust.get_vocab() == ours.rust.get_vocab():
        return
    raise BraidError(
        f"{where}: the teacher {run} has a vocabulary of {theirs.vocab_size:,} tokens, the student another one of "
        f"{ours.vocab_size:,}; both read the same batches and must have the same. Give the student the teacher's "
        f"(encoder.vocab={run}/encoder, or encoder.pretrained), or let the teacher write rows, which any student can "
        f"learn from: braid predict {run} TRAINING_ROWS --logits -o taught.jsonl"
    )


def _pretrained(
    run: str,
    where: str,
    names: Mapping[str, str],
    specs: Mapping[str, TaskSpec],
    tokenizer: Tokenizer,
    variant: EncoderConfig,
) -> tuple[BraidModel, Path]:
    """A teacher that is no run of ours: an encoder, and its own head for masked tokens where it has one."""
    try:
        directory = locate(run)
    except BraidError as error:
        raise BraidError(str(error).replace("encoder.pretrained", where)) from error
    assert isinstance(variant, EncoderVariant)
    encoder, theirs = type(variant)(type=variant.type).load(directory), load_tokenizer(directory)
    _check_tokens(where, str(directory), theirs, tokenizer)
    found = {}
    for task in names:
        spec = specs[task]
        if not isinstance(spec.task, Mlm):
            raise BraidError(
                f"distill.teachers.{task}: {run} is an encoder without a head for {spec.task.type}; train one first "
                f"(braid train), or learn from its hidden states alone: {task}: {{run: {run}, logits: false}}"
            )
        if not any(key.startswith("mlm.") for key in encoder.pretraining):
            raise BraidError(f"distill.teachers.{task}: {run} has no weights of a head for masked tokens")
        found[names[task]] = TaskSpec(spec.task, spec.task.learn_text(text_facts(theirs, encoder)))
    return BraidModel(encoder, found), directory
