"""`train --folds k`: k runs, each without a part of the training rows, which it then predicts."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braid.checkpoint.files import read_mapping, write_json
from braid.checkpoint.state import newest_state
from braid.config.recipe import Recipe
from braid.data.example import Example
from braid.data.folds import Document, assign
from braid.data.groups import GroupData
from braid.data.prepare import prepare
from braid.data.windows import WindowOptions, common_layout
from braid.errors import BraidError, DataError, Interrupted, Problem, RunDirectoryError
from braid.metrics.meter import Meter
from braid.model.corpora import corpus_groups
from braid.model.evaluate import Scores, golds_of
from braid.model.inference import answers
from braid.parallel.join import joined
from braid.parallel.world import World
from braid.predict.model import Model
from braid.predict.output import written
from braid.predict.results import result_of
from braid.run.course import course, differences
from braid.run.dataset import ReadData, Say, labelled, read_data
from braid.run.train import Run, nothing, read_metrics, told, train

INDEX = "folds.json"
ROWS = "out_of_fold.jsonl"
Spread = dict[str, dict[str, dict[str, Any]]]
"""{task: {metric: {"mean", "deviation", "values"}}}, one value for each fold."""


@dataclass(frozen=True)
class Folds:
    """A finished cross-validation. *out_of_fold*: figures of all training rows together, each predicted by the run that
    never saw it; *held_out*: the same fold by fold; *test*: every fold's figures on the test rows; *main*: the metric
    that counts, by task."""

    directory: Path
    folds: int
    out_of_fold: Scores
    held_out: Spread
    test: Spread
    main: Mapping[str, str]

    @property
    def runs(self) -> list[Path]:
        """The run directories of the folds."""
        return [fold_of(self.directory, number) for number in range(self.folds)]


def fold_of(out: Path, number: int) -> Path:
    """Where the run of a fold is; *number* from 0."""
    return out / f"fold-{number + 1}"


def train_folds(
    recipe: Recipe, folds: int, *, overwrite: bool = False, force: bool = False, say: Say | None = None
) -> Folds | None:
    """Train a recipe `folds` times, each time without one part of its training rows, which that run then predicts.

    Each group of the chain is divided by its own rows; groups that read a corpus stay whole. The held-out rows choose
    nothing: a recipe with `dev` chooses the best step by that, one without trains to its last step. A finished fold is
    not trained again, an interrupted one goes on; *overwrite*: all begin anew; *force*: go on although recipe or data
    changed. Writes `fold-1/`... , `folds.json` and `out_of_fold.jsonl` into `recipe.out`. None: another process of
    this run has the result. Raises BraidError."""
    if folds < 2:
        raise BraidError(f"--folds {folds}: a cross-validation has 2 folds or more")
    with joined() as world:
        say = (say or told) if world.first else nothing
        recipe.check_files()
        corpus_groups(recipe)
        with world.in_turn():
            data = read_data(recipe, splits=["train"])
        parts = divide(recipe, data, folds)
        _remark_shared(data, parts, say)
        out = Path(recipe.out)
        if world.first:
            _begin(out, folds, course(recipe, data, []), overwrite=overwrite, force=force)
        world.wait()
        for number in range(folds):
            _train_fold(recipe, parts, number, folds, world, say, force=force)
        made = _finish(recipe, data, parts, folds, say) if world.first else None
        world.wait()
        return made


def divide(recipe: Recipe, data: ReadData, folds: int) -> list[np.ndarray | None]:
    """The fold of every training row, by group; None: the group has no labelled rows to divide. Raises BraidError."""
    out: list[np.ndarray | None] = []
    problems = []
    for names, read in zip(data.groups, data.reads["train"], strict=True):
        tasks = labelled(recipe, names)
        if not tasks:
            out.append(None)
            continue
        document: Document = next((task.document for task in tasks.values() if task.document != "row"), "row")
        # A label that fits no stratum (None) is one of its own: rows without a label are shared out evenly too.
        rows = [
            [
                str(task.stratum(label))
                for name, task in tasks.items()
                if (label := example.labels.get(name)) is not None
            ]
            for example in read.examples
        ]
        strata = [" / ".join(row) for row in rows]
        try:
            out.append(assign(read.examples, strata, folds=folds, seed=recipe.seed, document=document))
        except BraidError as error:
            problems.append(Problem(what=str(error), key=" & ".join(names)))
    if problems:
        raise DataError(problems)
    if all(part is None for part in out):
        raise BraidError("no task of this recipe has labelled rows, so there is nothing to divide into folds")
    return out


def without(data: ReadData, parts: Sequence[np.ndarray | None], fold: int) -> ReadData:
    """The data without the rows of one fold. Raises BraidError where the rows are others than those divided."""
    reads = []
    for read, part in zip(data.reads["train"], parts, strict=True):
        if part is None:
            reads.append(read)
            continue
        if len(part) != len(read.examples):
            raise BraidError(f"there are {len(read.examples):,} training rows, there were {len(part):,}: data changed")
        kept = [example for example, at in zip(read.examples, part.tolist(), strict=True) if at != fold]
        reads.append(replace(read, examples=kept))
    return replace(data, reads={**data.reads, "train": reads})


def _remark_shared(data: ReadData, parts: Sequence[np.ndarray | None], say: Say) -> None:
    """Texts of several groups: one may hold out what another trains on."""
    texts = Counter(
        text
        for read, part in zip(data.reads["train"], parts, strict=True)
        if part is not None
        for text in {(example.text, example.pair) for example in read.examples}
    )
    shared = sum(count > 1 for count in texts.values())
    if shared:
        say(
            f"{shared:,} texts stand in several groups of the chain. Each group is divided by itself, so such a text "
            "may be held out of one and trained on in another; join tasks of the same texts by `&`"
        )


def _begin(out: Path, folds: int, fixed: dict[str, Any], *, overwrite: bool, force: bool) -> None:
    """Make sure that what is there belongs to this cross-validation, and say what it is."""
    there = [path for path in out.glob("fold-*") if re.fullmatch(r"fold-\d+", path.name)] if out.is_dir() else []
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"out: {out} is a file, not a folder")
    fixed = {**json.loads(json.dumps(fixed, default=str)), "folds": folds}
    if overwrite:
        for path in there:
            shutil.rmtree(path)
        (out / INDEX).unlink(missing_ok=True)
    elif (out / INDEX).is_file():
        lines = differences(read_mapping(out / INDEX).get("course", {}), fixed)
        if lines and not force:
            raise RunDirectoryError(
                f"{out} holds the folds of another recipe or of other data:\n    "
                + "\n    ".join(lines)
                + "\nPut these back, or use --overwrite to begin anew, --force to go on all the same, or out=OTHER."
            )
    elif there:
        raise RunDirectoryError(
            f"{out} holds {there[0].name} but no {INDEX}: use --overwrite to replace it, or out=OTHER"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / INDEX, {"folds": folds, "course": fixed})


def _train_fold(
    recipe: Recipe, parts: Sequence[np.ndarray | None], fold: int, folds: int, world: World, say: Say, *, force: bool
) -> None:
    directory = fold_of(Path(recipe.out), fold)
    finished = world.from_first((directory / "metrics.json").is_file() if world.first else None)
    if finished:
        say(f"fold {fold + 1} of {folds} is finished: {directory}")
        return
    begun = world.from_first(newest_state(directory) is not None if world.first else None)
    held = sum(int((part == fold).sum()) for part in parts if part is not None)
    say(f"fold {fold + 1} of {folds}: {held:,} rows are held out")
    try:
        train(
            recipe.model_copy(update={"out": str(directory)}),
            resume=bool(begun),
            overwrite=not begun,
            force=force,
            say=say,
            choose=lambda data: without(data, parts, fold),
        )
    except Interrupted as stopped:
        raise Interrupted(stopped.number, recipe.out, go_on="Go on with the same command") from None


def _finish(recipe: Recipe, data: ReadData, parts: Sequence[np.ndarray | None], folds: int, say: Say) -> Folds:
    """Let every fold's run predict its rows; write predictions and figures."""
    out = Path(recipe.out)
    rows: list[list[dict[str, Any]]] = [[{} for _ in read.examples] for read in data.reads["train"]]
    whole: dict[str, Meter] = {}
    by_fold: list[Scores] = []
    main: dict[str, str] = {}
    say("predicting the rows that were held out")
    for fold in range(folds):
        model = Model.load(fold_of(out, fold))
        meters: dict[str, Meter] = {}
        for number, part in enumerate(parts):
            if part is None:
                continue
            held = np.flatnonzero(part == fold).tolist()
            examples = [data.reads["train"][number].examples[row] for row in held]
            found = _predicted(recipe, model, data.groups[number], examples, meters)
            for row, content in zip(held, found, strict=True):
                rows[number][row] = {**content, "fold": fold + 1}
        by_fold.append({task: meter.compute() for task, meter in meters.items()})
        for task, meter in meters.items():
            if task in whole:
                whole[task].merge(meter)
            else:
                whole[task] = meter
            main[task] = model.tasks[task].task.best(model.tasks[task].facts)
    with written(out / ROWS, source=os.devnull) as sink:
        for content in (content for group in rows for content in group):
            line = json.dumps(content, ensure_ascii=False, default=str) + "\n"
            sink.write(line.encode("utf-8", "backslashreplace").decode("utf-8"))
    figures: Scores = {task: meter.compute() for task, meter in whole.items()}
    tests = [Run(path, read_metrics(path), main).scores("test") for path in (fold_of(out, k) for k in range(folds))]
    made = Folds(out, folds, figures, spread(by_fold), spread(tests), main)
    content = {"out_of_fold": made.out_of_fold, "held_out": made.held_out, "test": made.test}
    write_json(out / INDEX, {**read_mapping(out / INDEX), **content})
    return made


def _predicted(
    recipe: Recipe, model: Model, names: Sequence[str], examples: list[Example], meters: dict[str, Meter]
) -> Iterator[dict[str, Any]]:
    """Rows with predictions and the labels that they had; *meters* are fed."""
    tasks = tuple(labelled(recipe, names))
    layout, units = common_layout({name: model.tasks[name].task.reads(model.tasks[name].facts) for name in tasks})
    options = WindowOptions(max_length=model.max_length, stride=model.stride, units=units, layout=layout)
    cache = Path(recipe.cache) if recipe.cache else None
    token_rows = prepare(examples, model.tokenizer, options, cache=cache, workers=recipe.train.workers)
    group = GroupData(tasks, examples, token_rows, options.units)
    results = [result_of(example) for example in examples]
    found = answers(
        model.network, [group], batch_tokens=model.batch_tokens, device=model.device, precision=model.precision
    )
    problems: list[Problem] = []
    for (_, task), answer in found.items():
        spec = model.tasks[task]
        predictions = model.network.head(task).decode(answer.values, examples, answer.units)
        chosen, golds = golds_of(task, spec, answer, problems)
        meter = meters.setdefault(task, spec.task.meter(spec.facts))
        for number, gold in zip(chosen, golds, strict=True):
            meter.update(predictions[number], gold)
        for result, example, prediction in zip(results, examples, predictions, strict=True):
            if spec.labelled.fits(example) is None:
                result.predictions[task] = prediction
    if problems:
        raise DataError(problems, title="labels that cannot be evaluated:")
    for example, result in zip(examples, results, strict=True):
        place = {} if example.place is None else {"place": str(example.place)}
        yield {**result.to_json(), "gold": dict(example.labels), **place}


def spread(folds: Sequence[Scores]) -> Spread:
    """Mean and sample deviation over the folds, of every metric that all of them have."""
    out: Spread = {}
    for task, scores in folds[0].items() if folds else ():
        for metric in scores:
            values = [fold[task][metric] for fold in folds if metric in fold.get(task, {})]
            if len(values) == len(folds):
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                out.setdefault(task, {})[metric] = {
                    "mean": statistics.fmean(values),
                    "deviation": deviation,
                    "values": values,
                }
    return out
