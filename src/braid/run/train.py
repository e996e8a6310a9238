"""`train`: recipe -> run directory."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import braid
from braid.balancing.base import Balancer
from braid.checkpoint.files import read_json, write_bytes, write_json
from braid.checkpoint.model_files import carry_heads, save_encoder, save_tasks
from braid.checkpoint.state import newest_state, read_progress
from braid.config.recipe import Recipe
from braid.data.corpus.rows import CorpusRows
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
from braid.model.network import BraidModel, TaskSpec
from braid.model.precision import device_of, resolve
from braid.run.build import Parts, build_parts
from braid.run.dataset import (
    ReadData,
    Say,
    SkippedLabels,
    check_gold,
    learn,
    read_data,
    skipped_labels,
    task_of,
    tokenised,
    with_targets,
    with_tokenizer,
)
from braid.training.memory import keep_freed_memory
from braid.training.progress import make_progress
from braid.training.trainer import Trainer, TrainResult

HARMLESS = {"save_every", "keep", "log_every", "threads", "workers", "device", "eval_batch_tokens"}
"""Training options that may change between a run and its resumption without changing its course."""


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
    recipe: Recipe, *, resume: bool = False, overwrite: bool = False, force: bool = False, say: Say | None = None
) -> Run:
    """Train a recipe and write its run directory.

    *resume*: go on from the newest saved state. *overwrite*: replace a run that is already there. *force*: resume
    although recipe or data changed. Raises BraidError for anything wrong with recipe, data or directory."""
    say = say or _print
    directory = Path(recipe.out)
    state = _start(directory, resume=resume, overwrite=overwrite)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    keep_freed_memory()
    device = device_of(recipe.train.device)
    precision = resolve(recipe.train.precision, device)
    torch.manual_seed(recipe.seed)
    recipe.check_files()

    corpus_groups(recipe)
    data = read_data(recipe)
    facts = learn(recipe, data)
    parts = build_parts(recipe, data)
    facts = with_tokenizer(recipe, facts, parts.tokenizer)
    text = text_facts(parts.tokenizer, parts.encoder)
    facts.update(learn_text(recipe, text))
    specs = {link.name: TaskSpec(task_of(recipe, link.name), facts[link.name]) for link in _links(recipe)}
    groups = {
        split: tokenised(recipe, data, facts, split, parts.tokenizer, max_length=parts.max_length, stride=parts.stride)
        for split in data.reads
    }
    groups["train"] = with_targets(recipe, groups["train"], facts)
    if text_tasks(recipe, specs):
        with preparing() as report:
            fill_in(recipe, groups, CorpusReader(recipe, parts.tokenizer, text, parts.max_length, report))
    skipped = {"train": skipped_labels(groups["train"])}
    skipped.update({split: check_gold(specs, groups[split], split) for split in ("dev", "test")})
    _say_data(say, groups, parts, data, skipped, specs)

    model = BraidModel(parts.encoder, specs)
    if parts.origin is not None:
        for name, reason in carry_heads(parts.origin.parent, model).items():
            say(f"  {name}: its head " + (f"is new: {reason}" if reason else f"starts from {parts.origin.parent}"))
    model.to(device)
    fingerprint = _fingerprint(recipe, data, groups["train"])
    trainer = _trainer(recipe, model, groups, directory, fingerprint, device, precision)
    if state is not None:
        progress = read_progress(state)
        if progress.fingerprint != fingerprint and not force:
            raise RunDirectoryError(
                f"{state} belongs to another recipe or other data than now: the run would not go on as it began. "
                "Put the recipe and the files back, or use --force to go on all the same."
            )
        trainer.resume(state, progress)
        say(f"resuming at step {progress.step} of {trainer.total}")
    directory.mkdir(parents=True, exist_ok=True)
    write_bytes(directory / "recipe.yaml", recipe.to_yaml().encode())
    write_json(directory / "environment.json", environment(recipe))
    say(f"{trainer.total} steps on {device} in {precision}, {sum(p.numel() for p in model.parameters()):,} parameters")
    result = trainer.train()
    return _finish(recipe, parts, model, groups, result, directory, trainer)


def _links(recipe: Recipe) -> list[Any]:
    return [link for group in recipe.parsed_chain.groups for link in group.tasks]


def _trainer(
    recipe: Recipe,
    model: BraidModel,
    groups: Mapping[str, list[GroupData]],
    directory: Path,
    fingerprint: str,
    device: torch.device,
    precision: Any,
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
    total = sum(plan.steps())
    display = make_progress(
        min(total, recipe.train.max_steps or total), list(model.specs), log_every=recipe.train.log_every
    )
    return Trainer(
        model=model,
        plan=plan,
        groups=groups["train"],
        dev=[group for group in groups["dev"] if len(group)],
        config=recipe.train,
        weights={link.name: link.weight for link in _links(recipe)},
        balancer=balancer,
        display=display,
        run=directory,
        device=device,
        precision=precision,
        fingerprint=fingerprint,
    )


def _finish(
    recipe: Recipe,
    parts: Parts,
    model: BraidModel,
    groups: Mapping[str, list[GroupData]],
    result: TrainResult,
    directory: Path,
    trainer: Trainer,
) -> Run:
    for _, head in model.heads():
        if isinstance(pooler := getattr(head, "pooler", None), tuple):
            parts.encoder.keep_pooler(*pooler)
    sha256 = save_encoder(
        directory,
        parts.encoder,
        recipe.encoder,
        parts.tokenizer,
        max_length=parts.max_length,
        stride=parts.stride,
        precision=recipe.train.precision,
    )
    save_tasks(directory, model, sha256)
    figures: dict[str, Any] = {
        split: evaluate(
            model,
            filled,
            batch_tokens=recipe.train.eval_batch_tokens,
            device=trainer.device,
            precision=trainer.precision,
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
    }
    write_json(directory / "metrics.json", figures)
    best = directory / "best"
    if best.is_symlink():
        best.unlink()
    if result.best is not None:
        write_json(best, dict(result.best))
    shutil.rmtree(directory / "state", ignore_errors=True)
    return Run(directory, figures, {name: spec.task.best(spec.facts) for name, spec in model.specs.items()})


def _start(directory: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The state to resume from; makes sure that nothing finished is overwritten unasked."""
    finished = (directory / "metrics.json").is_file()
    state = newest_state(directory)
    if resume:
        if finished:
            raise RunDirectoryError(f"{directory} is finished; there is nothing to resume")
        if state is None:
            raise RunDirectoryError(f"{directory} holds no saved state to resume from; run without --resume")
        return state
    if (finished or state is not None) and not overwrite:
        what = "a finished run" if finished else "an unfinished run"
        go_on = "" if finished else "--resume to go on, "
        raise RunDirectoryError(f"{directory} already holds {what}: use {go_on}--overwrite to replace it, or out=OTHER")
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"out: {directory} is a file, not a folder")
    for name in ("state", "encoder", "tasks"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("metrics.json", "metrics.jsonl", "best"):
        (directory / name).unlink(missing_ok=True)
    return None


def _fingerprint(recipe: Recipe, data: ReadData, groups: Sequence[GroupData]) -> str:
    course = recipe.model_dump(mode="json", exclude={"out", "name", "cache"})
    course["train"] = {key: value for key, value in course["train"].items() if key not in HARMLESS}
    for task in course["tasks"].values():
        task.pop("data", None)
    corpora = [int(group.rows.lengths.sum()) for group in groups if isinstance(group.rows, CorpusRows)]
    content = json.dumps([course, data.sha256(), corpora, braid.__version__], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def environment(recipe: Recipe) -> dict[str, Any]:
    """Versions, seed and the sha256 of every data file."""
    files: dict[str, str | None] = {}
    for task in recipe.tasks.values():
        for split in ("train", "dev", "test"):
            for source in sources_of(task.data, split):
                for path in source.files():
                    files[path] = sha256_of(path)
    packages = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scikit-learn")
    return {
        "braid": braid.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "data_sha256": files,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _say_data(
    say: Say,
    groups: Mapping[str, list[GroupData]],
    parts: Parts,
    data: ReadData,
    skipped: Mapping[str, SkippedLabels],
    specs: Mapping[str, TaskSpec],
) -> None:
    for k, group in enumerate(groups["train"]):
        name = " & ".join(group.tasks)
        sizes = ", ".join(f"{split} {_size(groups[split][k]):,}" for split in groups)
        say(f"{name}: {sizes} rows")
        for split in groups:
            if isinstance(filled := groups[split][k].rows, CorpusRows):
                for reason, n in filled.left_out.items():
                    say(f"  {split}: {n:,} {reason} left out")
        cut = {split: groups[split][k].truncated() for split in groups}
        if any(cut.values()):
            shown = ", ".join(f"{split} {n:,}" for split, n in cut.items() if n)
            say(f"  texts cut at {parts.max_length} tokens: {shown} (encoder.max_length)")
        for split in groups:
            for task, reasons in data.reads[split][k].skipped.items():
                for reason, n in reasons.items():
                    say(f"  {task}, {split}: {n:,} rows left out: {reason}")
            for task in group.labelled:
                rows = [(e.labels[task], e) for e in groups[split][k].examples if e.labels.get(task) is not None]
                for what, at in specs[task].labelled.remarks(rows).items():
                    say(f"  {task}, {split}: {len(at):,} {what} (first: {at[0]})")
                for reason, places in skipped[split].get(task, {}).items():
                    say(f"  {task}, {split}: {len(places):,} labels left out: {reason} (first: {places[0]})")


def _size(group: GroupData) -> int:
    """Examples of a group; rows of one that reads a corpus."""
    return len(group) if isinstance(group.rows, CorpusRows) else len(group.examples)


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def read_metrics(directory: Path) -> Mapping[str, Any]:
    """metrics.json of a run."""
    return read_json(directory / "metrics.json")


def require_split(split: str) -> str:
    """A split's name. Raises BraidError for any other word."""
    if split not in ("train", "dev", "test"):
        raise BraidError(f"there is no split {split!r}; use train, dev or test")
    return split
