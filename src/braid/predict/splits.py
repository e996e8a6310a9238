"""The data that a run's recipe names, as its model reads them now."""

from __future__ import annotations

from pathlib import Path

from braid.checkpoint.files import read_json
from braid.config.recipe import Recipe
from braid.data.assemble import read_group
from braid.data.groups import GroupData
from braid.data.prepare import prepare
from braid.data.textfile import sha256_of
from braid.data.windows import WindowOptions, common_layout
from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.model.corpora import CorpusReader, corpus_groups, data_of, preparing, sources_of, text_facts
from braid.predict.predictor import Predictor


def changed_files(run: Path, split: str) -> list[str]:
    """Files of a split that are no longer what they were when the run was trained."""
    known = read_json(run / "environment.json").get("data_sha256", {})
    recipe = Recipe.load_saved(run / "recipe.yaml")
    paths = {path for task in recipe.tasks.values() for one in sources_of(task.data, split) for path in one.files()}
    return sorted(path for path in paths if path in known and known[path] != sha256_of(path))


def split_groups(model: Predictor, split: str, *, encoder: Encoder | None) -> list[GroupData]:
    """The rows of a split, of the tasks that the model has; those that make their own targets need the *encoder*.
    Raises BraidError where there are none."""
    recipe = Recipe.load_saved(model.directory / "recipe.yaml")
    specs = model.tasks
    groups = [] if encoder is None else _corpora(model, encoder, recipe, split)
    for group in recipe.parsed_chain.groups:
        names = tuple(link.name for link in group.tasks if link.name in specs and specs[link.name].predicts)
        if not any(getattr(recipe.tasks[name].data, split) for name in names):
            continue
        defaults = {name: specs[name].labelled.default_label for name in names}
        files = {name: recipe.tasks[name].data for name in names}
        read = read_group(files, split, seed=recipe.seed, defaults=defaults)
        layout, units = common_layout({name: specs[name].task.reads(specs[name].facts) for name in names})
        options = WindowOptions(max_length=model.max_length, stride=model.stride, units=units, layout=layout)
        cache = Path(recipe.cache) if recipe.cache else None
        rows = prepare(read.examples, model.tokenizer, options, cache=cache, workers=recipe.train.workers)
        groups.append(GroupData(names, read.examples, rows, options.units))
    if not groups:
        raise BraidError(f"no task of {model.directory} has data for the split {split!r}")
    return groups


def _corpora(model: Predictor, encoder: Encoder, recipe: Recipe, split: str) -> list[GroupData]:
    """The groups whose tasks make their own targets from a corpus, as far as the model still has these tasks."""
    groups = []
    for names in corpus_groups(recipe):
        if all(name in model.tasks for name in names) and getattr(data_of(recipe, names), split):
            text = text_facts(model.tokenizer, encoder)
            with preparing() as report:
                corpus = CorpusReader(recipe, model.tokenizer, text, model.max_length, report)
                groups.append(corpus.groups(names, [split])[split])
    return groups
