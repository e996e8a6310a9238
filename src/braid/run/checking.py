"""`check`: everything that training would read, read and reported."""

from __future__ import annotations

from braid.config.recipe import Recipe
from braid.data.groups import GroupData
from braid.data.plan import Plan
from braid.data.samplers.base import Sampler
from braid.encoders.base import Encoder
from braid.errors import BraidError, DataError, Problem, ProblemsError
from braid.model.corpora import CorpusReader, corpus_groups, fill_in, learn_text, preparing, text_facts, text_tasks
from braid.model.network import BraidModel, TaskSpec
from braid.run.build import build_parts
from braid.run.dataset import (
    check_gold,
    learn,
    read_data,
    skipped_labels,
    task_of,
    tokenised,
    with_targets,
    with_tokenizer,
)
from braid.tools import check as look
from braid.tools.check import Report
from braid.training.best import check_metrics
from braid.training.distillation.teachers import load_teachers

ACTIVATION_FLOATS = 34
"""Floats that a BERT layer keeps for its backward pass, per token and hidden unit (Korthikanti et al. 2022, arXiv
2205.05198, section 4.1: 34 bytes in half precision and masks; attention itself is recomputed here)."""


def check(recipe: Recipe) -> Report:
    """Look at a recipe and all its data. Raises BraidError only where the files cannot be read at all; problems with
    labels are in `report.errors`."""
    report = Report()
    recipe.check_files()
    corpus_groups(recipe)
    data = read_data(recipe)
    try:
        facts = learn(recipe, data)
    except DataError as error:
        look.skipped(data.reads, report)
        look.collect(report, error.problems)
        return report
    parts = build_parts(recipe, data)
    facts = with_tokenizer(recipe, facts, parts.tokenizer)
    text = text_facts(parts.tokenizer, parts.encoder)
    facts.update(learn_text(recipe, text))
    specs = {name: TaskSpec(task_of(recipe, name), facts[name]) for names in data.groups for name in names}
    try:
        check_metrics(specs, recipe.train.best)
    except ProblemsError as error:
        look.collect(report, error.problems)
    if recipe.distill is not None:
        taught, length = recipe.distill.teachers, parts.max_length
        try:
            load_teachers(taught, specs, parts.tokenizer, max_length=length, variant=recipe.encoder)
        except BraidError as error:
            look.collect(report, [Problem(what=str(error))])
    groups = {
        split: tokenised(recipe, data, facts, split, parts.tokenizer, max_length=parts.max_length, stride=parts.stride)
        for split in data.reads
    }
    for split in ("train", "dev", "test"):
        try:
            if split == "train":
                groups[split] = with_targets(recipe, groups[split], facts)
                look.left_out(split, skipped_labels(groups[split]), report)
                check_gold(specs, groups[split], split)
            else:
                look.left_out(split, check_gold(specs, groups[split], split), report)
        except DataError as error:
            look.collect(report, error.problems)
    if text_tasks(recipe, specs):
        with preparing() as progress:
            fill_in(recipe, groups, CorpusReader(recipe, parts.tokenizer, text, parts.max_length, progress))
    look.skipped(data.reads, report)
    look.inventory(specs, groups, report)
    look.duplicates(groups, report)
    look.leakage(groups, report)
    look.lengths(groups, report, max_length=parts.max_length)
    _plan(recipe, groups["train"], report)
    model = BraidModel(parts.encoder, specs)
    parameters = sum(p.numel() for p in model.parameters())
    tokens = recipe.train.tokens_per_batch or max(report.plan["tokens_in_largest_batch"], 1)
    look.memory(
        parameters, parameters, tokens // recipe.train.accumulate, lambda n: activations(parts.encoder, n), report
    )
    return report


def activations(encoder: Encoder, tokens: int) -> float:
    """Bytes of activations that training keeps for one micro-batch of `tokens`."""
    return float(tokens * encoder.n_layers * encoder.hidden_size * ACTIVATION_FLOATS * 2)


def _plan(recipe: Recipe, groups: list[GroupData], report: Report) -> None:
    sampler = recipe.train.sampler
    assert isinstance(sampler, Sampler)
    plan = Plan(
        lengths=tuple(group.lengths for group in groups),
        rates=tuple(group.rate for group in recipe.parsed_chain.groups),
        sampler=sampler,
        epochs=recipe.train.epochs,
        seed=recipe.seed,
        batch_tokens=recipe.train.tokens_per_batch,
        batch_rows=recipe.train.batch_rows,
        batches=recipe.train.batches,
    )
    first = plan.epoch(0)
    report.plan = {
        "steps": plan.expected(recipe.train.max_steps),
        "steps_in_first_epoch": len(first),
        "rows_by_group_in_first_epoch": {
            " & ".join(group.tasks): n for group, n in zip(groups, plan.draws(0), strict=True)
        },
        "tokens_in_largest_batch": max((sum(int(plan.lengths[g][r]) for g, r in step) for step in first), default=0),
    }
