"""`train`: recipe -> run directory."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import braid
from braid.balancing.base import Balancer
from braid.checkpoint.files import read_json, write_bytes, write_json
from braid.checkpoint.model_files import carry_heads
from braid.checkpoint.state import newest_state, read_progress
from braid.config.recipe import Recipe
from braid.data.groups import GroupData
from braid.data.plan import Plan
from braid.data.samplers.base import Sampler
from braid.data.textfile import sha256_of
from braid.errors import BraidError, RunDirectoryError
from braid.model.corpora import (
    CorpusReader,
    corpus_groups,
    fill_in,
    learn_text,
    preparing,
    sources_of,
    text_facts,
    text_tasks,
)
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import Precision
from braid.model.memory import keep_freed_memory
from braid.model.network import BraidModel, TaskSpec
from braid.model.precision import device_of, resolve
from braid.parallel.join import joined
from braid.parallel.world import World
from braid.report.card import write_card
from braid.run.build import Parts, build_parts, write_model
from braid.run.course import WatchedFiles, check_course, course, differences
from braid.run.dataset import (
    ReadData,
    Say,
    check_gold,
    learn,
    read_data,
    skipped_labels,
    task_of,
    tokenised,
    with_targets,
    with_tokenizer,
)
from braid.run.summary import data_facts, say_data
from braid.training.best import check_metrics
from braid.training.budget import find_budget
from braid.training.distillation.objective import Distillation, distillation
from braid.training.distillation.teachers import Teacher, load_teachers
from braid.training.progress import Progress, Quiet, make_progress
from braid.training.trainer import Trainer, TrainResult


@dataclass(frozen=True)
class Run:
    """A finished run: its directory and its figures (what metrics.json holds)."""

    directory: Path
    metrics: Mapping[str, Any]
    main: Mapping[str, str]
    """The metric that counts, by task."""

    def scores(self, split: str = "test") -> Scores:
        """{task: {metric: value}} of a split."""
        return self.metrics.get(split, {})


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
    say: Say | None = None,
    choose: Callable[[ReadData], ReadData] | None = None,
) -> Run:
    """Train a recipe and write its run directory.

    *resume*: go on from the newest saved state. *overwrite*: replace a run that is already there. *force*: resume
    although recipe or data changed. *choose*: which of the rows that were read are used, once labels and vocabulary
    are known of all of them (a fold). Raises BraidError for anything wrong with recipe, data or directory."""
    with joined() as world:
        if not world.first:
            say = nothing
        return _train(recipe, world, say or told, choose, resume=resume, overwrite=overwrite, force=force)


def _train(
    recipe: Recipe,
    world: World,
    say: Say,
    choose: Callable[[ReadData], ReadData] | None,
    *,
    resume: bool,
    overwrite: bool,
    force: bool,
) -> Run:
    directory = Path(recipe.out)
    state = world.from_first(_start(directory, resume=resume, overwrite=overwrite) if world.first else None)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    keep_freed_memory()
    device = device_of(recipe.train.device, world.local_rank if world.size > 1 else None)
    precision = resolve(recipe.train.precision, device)
    torch.manual_seed(recipe.seed)
    recipe.check_files()
    files = WatchedFiles(data_files(recipe)) if world.first else WatchedFiles([])

    corpus_groups(recipe)
    with world.in_turn():
        data = read_data(recipe)
    facts = world.from_first(learn(recipe, data))
    parts = build_parts(recipe, data, world)
    facts = with_tokenizer(recipe, facts, parts.tokenizer)
    text = text_facts(parts.tokenizer, parts.encoder)
    facts.update(learn_text(recipe, text))
    data = data if choose is None else choose(data)
    specs = {link.name: TaskSpec(task_of(recipe, link.name), facts[link.name]) for link in _links(recipe)}
    check_metrics(specs, recipe.train.best)
    asked = {} if recipe.distill is None else recipe.distill.teachers
    teachers = load_teachers(asked, specs, parts.tokenizer, max_length=parts.max_length, variant=recipe.encoder)
    with world.in_turn():
        groups = {
            split: tokenised(
                recipe, data, facts, split, parts.tokenizer, max_length=parts.max_length, stride=parts.stride
            )
            for split in data.reads
        }
        groups["train"] = with_targets(recipe, groups["train"], facts)
        if text_tasks(recipe, specs):
            with preparing() as report:
                fill_in(recipe, groups, CorpusReader(recipe, parts.tokenizer, text, parts.max_length, report))
    skipped = {"train": skipped_labels(groups["train"])}
    skipped.update({split: check_gold(specs, groups[split], split) for split in ("dev", "test")})
    say_data(say, groups, parts, data, skipped, specs)

    model = BraidModel(parts.encoder, specs)
    if parts.origin is not None:
        for name, reason in carry_heads(parts.origin.parent, model).items():
            say(f"  {name}: its head " + (f"is new: {reason}" if reason else f"starts from {parts.origin.parent}"))
    distilled = distillation(recipe.distill, teachers, model)
    model.to(device)
    for teacher in teachers:
        teacher.to(device, precision)
        say(f"  {', '.join(teacher.lessons)}: taught by {teacher.run}")
    progress = read_progress(state) if state is not None else None
    if recipe.train.batch_tokens == "auto":
        known = None if progress is None else progress.course.get("train.batch_tokens")
        found = known or find_budget(model, groups["train"], recipe.train, device, precision, world)
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_tokens": found})})
        say(f"train.batch_tokens: auto is {found:,}")
    fixed = course(recipe, data, groups["train"], teachers)
    for rank, other in enumerate(world.gather(fixed)):
        if other != fixed:
            lines = "\n    ".join(differences(fixed, other))
            raise BraidError(f"process {rank} does not train the same as process {world.rank}:\n    {lines}")
    if world.rank:
        torch.manual_seed(recipe.seed + 1_000_003 * world.rank)  # other dropout than the first process
    trainer = _trainer(recipe, model, groups, directory, fixed, device, precision, world, files, distilled)
    if state is not None and progress is not None:
        if not force:
            check_course(state, progress.course, fixed)
        elif changed := differences(progress.course, fixed):
            say("going on although these are not what they were:\n    " + "\n    ".join(changed))
        trainer.resume(state, replace(progress, course=fixed))
        say(f"resuming at step {progress.step} of {trainer.total}")
    if world.first:
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / "recipe.yaml", recipe.to_yaml().encode())
        write_json(directory / "environment.json", environment(recipe, world, teachers))
        rates = {" & ".join(link.name for link in group.tasks): group.rate for group in recipe.parsed_chain.groups}
        write_json(directory / "data.json", data_facts(groups, parts, specs, rates))
    number = sum(parameter.numel() for parameter in model.parameters())
    where = f"{world.size} processes ({recipe.train.parallel}) on {device.type}" if world.size > 1 else str(device)
    say(f"{trainer.total} steps on {where} in {precision}, {number:,} parameters")
    result = trainer.train()
    return _finish(recipe, parts, groups, result, directory, trainer)


def _links(recipe: Recipe) -> list[Any]:
    return [link for group in recipe.parsed_chain.groups for link in group.tasks]


def _trainer(
    recipe: Recipe,
    model: BraidModel,
    groups: Mapping[str, list[GroupData]],
    directory: Path,
    fixed: dict[str, Any],
    device: torch.device,
    precision: Precision,
    world: World,
    files: WatchedFiles,
    distilled: Distillation | None,
) -> Trainer:
    chain = recipe.parsed_chain
    sampler, balancer = recipe.train.sampler, recipe.train.balancer
    assert isinstance(sampler, Sampler)
    assert isinstance(balancer, Balancer)
    plan = Plan(
        lengths=tuple(group.lengths for group in groups["train"]),
        rates=tuple(group.rate for group in chain.groups),
        sampler=sampler,
        epochs=recipe.train.epochs,
        seed=recipe.seed,
        batch_tokens=recipe.train.tokens_per_batch,
        batch_rows=recipe.train.batch_rows,
        batches=recipe.train.batches,
    )
    total = plan.expected(recipe.train.max_steps)
    display: Progress = Quiet()
    if world.first:
        display = make_progress(total, list(model.specs), log_every=recipe.train.log_every)
    return Trainer(
        model=model,
        plan=plan,
        total=total,
        groups=groups["train"],
        dev=[group for group in groups["dev"] if len(group)],
        config=recipe.train,
        weights={link.name: link.weight for link in _links(recipe)},
        balancer=balancer,
        display=display,
        run=directory,
        device=device,
        precision=precision,
        course=fixed,
        world=world,
        changed=files.changed,
        distilled=distilled,
    )


def _finish(
    recipe: Recipe,
    parts: Parts,
    groups: Mapping[str, list[GroupData]],
    result: TrainResult,
    directory: Path,
    trainer: Trainer,
) -> Run:
    model, world = trainer.model, trainer.world
    if world.first:
        write_model(directory, recipe, parts, model)
    # The best weights were measured on dev when they were found to be the best.
    known = {} if result.best is None else {"dev": result.best["dev"]}
    figures: dict[str, Any] = {
        split: known.get(split)
        or evaluate(
            model,
            filled,
            batch_tokens=recipe.train.eval_batch_tokens,
            device=trainer.device,
            precision=trainer.precision,
            world=world,
        )
        for split in ("dev", "test")
        if (filled := [group for group in groups[split] if len(group)])
    }
    figures["train"] = {
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "tokens": result.tokens,
        "tokens_per_second": round(result.tokens / result.seconds) if result.seconds else 0,
        "truncated": {" & ".join(group.tasks): group.truncated() for group in groups["train"] if group.truncated()},
        "best": None if result.best is None else {key: result.best[key] for key in ("step", "score", "by")},
        "bad_steps": trainer.progress.bad,
        "processes": world.size,
    }
    if world.first:
        _close(directory, figures, result)
    world.wait()
    return Run(directory, figures, {name: spec.task.best(spec.facts) for name, spec in model.specs.items()})


def _close(directory: Path, figures: Mapping[str, Any], result: TrainResult) -> None:
    """The run is whole: write its figures, and leave no state behind."""
    write_json(directory / "metrics.json", figures)
    best = directory / "best"
    if best.is_symlink():
        best.unlink()
    if result.best is not None:
        write_json(best, dict(result.best))
    write_card(directory)
    shutil.rmtree(directory / "state", ignore_errors=True)


def _start(directory: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The state to resume from; makes sure that nothing finished is overwritten unasked."""
    finished = (directory / "metrics.json").is_file()
    state = newest_state(directory)
    if resume:
        if finished:
            raise RunDirectoryError(f"{directory} is finished; there is nothing to resume")
        if state is None:
            raise RunDirectoryError(f"{directory} holds no saved state to resume from; run without --resume")
        for debris in (directory / "state").glob(".*"):  # of writes that were cut off
            shutil.rmtree(debris, ignore_errors=True)
        return state
    if (finished or state is not None) and not overwrite:
        what = "a finished run" if finished else "an unfinished run"
        go_on = "" if finished else "--resume to go on, "
        raise RunDirectoryError(f"{directory} already holds {what}: use {go_on}--overwrite to replace it, or out=OTHER")
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"out: {directory} is a file, not a folder")
    for name in ("state", "encoder", "tasks"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("metrics.json", "metrics.jsonl", "data.json", "README.md", "best"):
        (directory / name).unlink(missing_ok=True)
    return None


def data_files(recipe: Recipe) -> list[str]:
    """All files that a recipe's tasks read. Data of the hub, and folders of it, are none."""
    found = [
        path
        for task in recipe.tasks.values()
        for split in ("train", "dev", "test")
        for source in sources_of(task.data, split)
        for path in source.files()
        if Path(path).is_file()
    ]
    return list(dict.fromkeys(found))


def environment(recipe: Recipe, world: World, teachers: Sequence[Teacher] = ()) -> dict[str, Any]:
    """Versions, seed, processes, and the sha256 of every data file and of what every teacher was read from."""
    packages = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scikit-learn")
    return {
        "braid": braid.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "seed": recipe.seed,
        "data_sha256": {path: sha256_of(path) for path in data_files(recipe)},
        **({"teachers": taught_by(teachers)} if teachers else {}),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def taught_by(teachers: Sequence[Teacher]) -> dict[str, Any]:
    """By what the recipe calls a teacher: the directory that it was read from, and the sha256 of each file."""
    found: dict[str, Any] = {}
    for teacher in teachers:
        entry = found.setdefault(teacher.run, {"directory": str(teacher.directory), "sha256": {}})
        entry["sha256"].update(teacher.files)
    return found


def nothing(message: str) -> None:
    """What all processes but the first say."""


def told(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def read_metrics(directory: Path) -> Mapping[str, Any]:
    """metrics.json of a run."""
    return read_json(directory / "metrics.json")


def require_split(split: str) -> str:
    """A split's name. Raises BraidError for any other word."""
    if split not in ("train", "dev", "test"):
        raise BraidError(f"there is no split {split!r}; use train, dev or test")
    return split
