"""`prepare`: the corpora of a recipe as token shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from braid.config.recipe import Recipe
from braid.data.corpus.prepare import Share
from braid.errors import BraidError
from braid.model.corpora import CorpusReader, corpus_groups, preparing, text_facts
from braid.run.build import build_parts
from braid.run.dataset import read_data


def prepare(recipe: Recipe, *, out: Path | None, shard: str, split: str) -> Iterator[str]:
    """Prepare one share of a split's shards for every group that reads a corpus, and say what was made.

    *out*: the folder, with one below it for each group where there are several; None: the cache, where training looks.
    Raises BraidError for a recipe without corpora, or a share without a folder of its own."""
    share = Share.parse(shard)
    if split not in ("train", "dev", "test"):
        raise BraidError(f"there is no split {split!r}; use train, dev or test")
    if out is None and share != Share():
        raise BraidError(
            "a share of the work goes into a folder of its own: give --out DIR, and list the folders in the "
            "recipe afterwards, `train: [{type: prepared, path: DIR}, ...]`"
        )
    recipe.check_files()
    groups = corpus_groups(recipe)
    if not groups:
        raise BraidError("no group of this recipe reads a corpus: there is nothing to prepare")
    parts = build_parts(recipe, read_data(recipe, splits=["train"]))
    text = text_facts(parts.tokenizer, parts.encoder)
    for names in groups:
        joined = " & ".join(names)
        with preparing() as report:
            reader = CorpusReader(recipe, parts.tokenizer, text, parts.max_length, report)
            folder = None if out is None else out / "_".join(names) if len(groups) > 1 else out
            index = reader.prepare(names, folder, share, split)
        where = reader.folder(names, split) if folder is None else folder
        yield (
            f"{joined}: {index['tokens']:,} tokens, {index['sentences']:,} sentences, {index['documents']:,} documents "
            f"in {where}"
        )
