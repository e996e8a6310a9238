"""Recipe -> the data of groups whose tasks make their own targets from a corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from braid.config.families import DataConfig
from braid.config.recipe import Recipe
from braid.data.corpus.documents import Documents, pieces
from braid.data.corpus.prepare import Options, Progress, Share, corpus_key, prepare_corpus
from braid.data.corpus.rows import CorpusRows, Fill, Pairing, RowOptions, choose
from braid.data.corpus.shards import Corpus
from braid.data.groups import GroupData, Maker
from braid.data.masking import vocabulary_of
from braid.data.progress import counting
from braid.data.sources.base import Source
from braid.data.sources.cut import Cut
from braid.data.sources.prepared import Prepared
from braid.data.tokens import Tokenizer
from braid.encoders.base import Encoder
from braid.errors import BraidError, DataError, LabelError, Problem
from braid.tasks.base import Facts
from braid.tasks.text import TextFacts, TextTask

SPLITS = ("train", "dev", "test")
Report = Callable[[str, Progress], None]
"""Told how far the preparation of a split is."""


def text_tasks(recipe: Recipe, names: Iterable[str]) -> dict[str, TextTask]:
    """Those of some tasks that make their own targets, in the order in which they change rows: pairs come first."""
    found = {name: task for name in names if isinstance(task := recipe.tasks[name], TextTask)}
    return dict(sorted(found.items(), key=lambda item: item[1].pairing == "none"))


def corpus_groups(recipe: Recipe) -> list[tuple[str, ...]]:
    """The groups of the chain that read a corpus: all of their tasks make their own targets.

    Raises BraidError where a group's tasks cannot share rows."""
    out = []
    for group in recipe.parsed_chain.groups:
        names = tuple(link.name for link in group.tasks)
        found = text_tasks(recipe, names)
        if len(found) == len(names):
            _check_group(recipe, names)
            out.append(names)
        elif found:
            _check_mixed(recipe, names, found)
    return out


def _check_group(recipe: Recipe, names: tuple[str, ...]) -> None:
    joined, tasks = " & ".join(names), text_tasks(recipe, names)
    given = [task.data for task in tasks.values() if task.data.train]
    if not given:
        raise BraidError(f"`{joined}`: none of its tasks has `data.train`, so there is no text to learn from")
    if any(data != given[0] for data in given):
        raise BraidError(f"`{joined}`: its tasks read the same text, but have different `data`; give it to one of them")
    disagreements: dict[str, set[Any]] = {
        "make pairs in different ways": {task.pairing for task in tasks.values() if task.pairing != "none"},
        "fill rows in different ways (`fill`)": {task.fill for task in tasks.values() if task.fill is not None},
        "ask for different `short_rows`": {task.short_rows for task in tasks.values() if task.short_rows is not None},
        "find words in different ways (`words`)": {task.words for task in tasks.values() if task.words is not None},
    }
    for what, values in disagreements.items():
        if len(values) > 1:
            raise BraidError(f"`{joined}`: its tasks {what}; write `{' | '.join(names)}`, or make them agree")


def _check_mixed(recipe: Recipe, names: tuple[str, ...], found: Mapping[str, TextTask]) -> None:
    """Tasks that make targets may read labelled rows, if the labels bear what they do to the text."""
    apart = " | ".join([*found, " & ".join(name for name in names if name not in found)])
    for name, task in found.items():
        if task.pairing != "none":
            raise BraidError(f"`{name}` makes pairs of its own, so it cannot share rows with labels; write `{apart}`")
        if task.data.train:
            raise BraidError(
                f"`{' & '.join(names)}`: {name} reads the rows of the labels that it is joined to, so it has no `data` "
                f"of its own; leave it out, or write `{apart}`"
            )
        for other in names:
            if other not in found and task.changes_input and not getattr(recipe.tasks[other], "bears_changes", False):
                raise BraidError(
                    f"`{name} & {other}`: {name} changes the text, and a {recipe.tasks[other].type} task has labels "
                    f"that need it as it is; write `{apart}`"
                )


def sources_of(data: DataConfig, split: str) -> list[Source]:
    """The sources of one split, patterns opened."""
    return [one for source in cast("list[Source]", getattr(data, split)) for one in source.each()]


def data_of(recipe: Recipe, names: Sequence[str]) -> DataConfig:
    """Where a corpus group's text is."""
    return next(task.data for task in text_tasks(recipe, names).values() if task.data.train)


def sample_documents(recipe: Recipe, *, characters: int = 20_000_000) -> Iterator[str]:
    """Training text of all corpora for a vocabulary, from the beginning of each."""
    for names in corpus_groups(recipe):
        data, left = data_of(recipe, names), characters
        plain = [source for source in sources_of(data, "train") if not isinstance(source, Cut | Prepared)]
        for document in Documents(plain, data.columns):
            for piece in (piece for line in document.split("\n") for piece in pieces(line)):
                yield piece
                left -= len(piece)
                if left <= 0:
                    break
            if left <= 0:
                break


def text_facts(tokenizer: Tokenizer, encoder: Encoder) -> TextFacts:
    """What tasks that make their own targets are told of tokenizer and encoder."""
    vectors = encoder.word_embeddings
    return TextFacts(
        vocabulary=vocabulary_of(tokenizer),
        vocab_size=int(vectors.shape[0]),
        embedding_size=int(vectors.shape[1]),
        sees=encoder.sees,
        activation=encoder.activation,
        norm_eps=encoder.norm_eps,
    )


def learn_text(recipe: Recipe, text: TextFacts) -> dict[str, Facts]:
    """What each of them must know. Raises DataError for those that cannot learn with this encoder or tokenizer."""
    facts, problems = {}, []
    for link in recipe.parsed_chain.links:
        task = recipe.tasks[link.name]
        if isinstance(task, TextTask):
            try:
                facts[link.name] = task.learn_text(text)
            except LabelError as error:
                problems.append(Problem(what=str(error), key=f"task {link.name}"))
    if problems:
        raise DataError(problems, title="tasks that cannot be learned:")
    return facts


def makers(recipe: Recipe, names: Sequence[str], text: TextFacts) -> dict[str, Maker]:
    """What the tasks of a group that make their own targets do to its rows."""
    return {name: Maker(task.change(text), task.count) for name, task in text_tasks(recipe, names).items()}


@contextmanager
def preparing() -> Iterator[Report]:
    """Draws how far a preparation is, on a terminal; in a log it writes a line now and then."""
    with counting() as told:

        def report(split: str, progress: Progress) -> None:
            speed = progress.tokens / max(progress.seconds, 1e-9)
            told(f"preparing {split} corpus: {progress.tokens:,} tokens, {speed:,.0f}/s", progress.done, progress.total)

        yield report


@dataclass(eq=False)
class CorpusReader:
    """Makes the group data of corpora. *max_length*: tokens of a row; *folder*: where shards are kept."""

    recipe: Recipe
    tokenizer: Tokenizer
    text: TextFacts
    max_length: int
    report: Report = lambda split, progress: None
    _temporary: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)

    def groups(self, names: tuple[str, ...], splits: Sequence[str] = SPLITS) -> dict[str, GroupData]:
        """One corpus group in every split; a split without data has no rows.

        Raises DataError for a corpus without text."""
        data = data_of(self.recipe, names)
        train = self._corpus(names, data, "train")
        cuts = [
            (split, source.share) for split in SPLITS for source in sources_of(data, split) if isinstance(source, Cut)
        ]
        pieces = choose(train.documents, [share for _, share in cuts], seed=self.recipe.seed) if cuts else []
        out = {}
        for split in splits:
            chosen: np.ndarray | None = None
            if split == "train":
                corpus, chosen = train, pieces[-1] if pieces else None
            elif any(owner == split for owner, _ in cuts):
                corpus = train
                chosen = np.logical_or.reduce(
                    [piece for (owner, _), piece in zip(cuts, pieces, strict=False) if owner == split]
                )
            elif sources_of(data, split):
                corpus = self._corpus(names, data, split)
            else:
                corpus = Corpus(())
            rows = CorpusRows(
                corpus, self.tokenizer.template, self._options(names), seed=self.recipe.seed, chosen=chosen
            )
            if not len(rows) and (split == "train" or corpus.parts):
                reasons = "; ".join(f"{count} {reason}" for reason, count in rows.left_out.items()) or "no text"
                raise DataError([Problem(what=f"`{' & '.join(names)}`: the {split} corpus gives no row ({reasons})")])
            out[split] = GroupData(names, [], rows, "none", makers=makers(self.recipe, names, self.text))
        return out

    def _options(self, names: tuple[str, ...]) -> RowOptions:
        tasks = list(text_tasks(self.recipe, names).values())
        fill: Fill = next((task.fill for task in tasks if task.fill), tasks[0].default_fill)
        pairing: Pairing = next((task.pairing for task in tasks if task.pairing != "none"), "none")
        if pairing != "none" and fill != "document":
            raise BraidError(f"`{' & '.join(names)}`: pairs are made within documents, so `fill` must be `document`")
        short = next((task.short_rows for task in tasks if task.short_rows is not None), 0.0)
        return RowOptions(max_length=self.max_length, fill=fill, pairing=pairing, short=short)

    def _corpus(self, names: tuple[str, ...], data: DataConfig, split: str) -> Corpus:
        """The shards of a split, prepared where they are not there yet."""
        folders = [Path(source.path) for source in sources_of(data, split) if isinstance(source, Prepared)]
        if self._plain(names, split):
            self.prepare(names, None, Share(), split)
            folders.append(self.folder(names, split))
        return Corpus.open(folders, tokenizer_sha256=self.tokenizer.sha256)

    def _plain(self, names: tuple[str, ...], split: str) -> list[Source]:
        """The sources of a split that hold text."""
        data = data_of(self.recipe, names)
        return [source for source in sources_of(data, split) if not isinstance(source, Cut | Prepared)]

    def _shards(self, names: tuple[str, ...]) -> Options:
        tasks = text_tasks(self.recipe, names).values()
        return Options(words=next((task.words for task in tasks if task.words is not None), "none"))

    def folder(self, names: tuple[str, ...], split: str) -> Path:
        """Where the shards of a split are in the cache: named by all that they depend on."""
        columns = data_of(self.recipe, names).columns
        return self.root / corpus_key(self._plain(names, split), columns, self.tokenizer, self._shards(names))

    def prepare(
        self, names: tuple[str, ...], folder: Path | None, share: Share, split: str = "train"
    ) -> dict[str, Any]:
        """Prepare one share of a split's shards (into the cache, where *folder* is None), and say what is there.

        Raises BraidError for a split without text of its own."""
        plain = self._plain(names, split)
        if not plain:
            raise BraidError(f"`{' & '.join(names)}` has no text of its own in {split} that could be prepared")
        return prepare_corpus(
            plain,
            data_of(self.recipe, names).columns,
            self.tokenizer,
            folder or self.folder(names, split),
            options=self._shards(names),
            share=share,
            workers=self.recipe.train.workers,
            progress=lambda progress: self.report(split, progress),
        )

    @property
    def root(self) -> Path:
        """The folder of all shards: in the cache, or a temporary one without a cache."""
        if self.recipe.cache is not None:
            return Path(self.recipe.cache) / "corpora"
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="braid-corpora-")
        return Path(self._temporary.name)


def fill_in(recipe: Recipe, groups: Mapping[str, list[GroupData]], reader: CorpusReader) -> None:
    """Put what the reader makes in the place of the groups that read a corpus, and makers into those whose rows carry
    labels too."""
    corpora = corpus_groups(recipe)
    splits = list(groups)
    for number, group in enumerate(groups[splits[0]]):
        if group.tasks in corpora:
            for split, found in reader.groups(group.tasks, splits).items():
                groups[split][number] = found
        elif made := makers(recipe, group.tasks, reader.text):
            for split in splits:
                groups[split][number] = replace(groups[split][number], makers=made)
