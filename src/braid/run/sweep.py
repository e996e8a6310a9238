"""`sweep`: many runs of one recipe with other values, and which were best on dev.

Optuna keeps the book (`sweep.db`, SQLite) and draws where there are distributions (TPE, Bergstra et al. 2011); trials
are ordinary runs in `trial-1/`, `trial-2/`, ... What was interrupted goes on, and ends as if it had not been.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braid.checkpoint.files import read_mapping, write_json
from braid.checkpoint.state import newest_state
from braid.config.axes import Axes, parse_axes
from braid.config.recipe import Recipe
from braid.data.textfile import sha256_of
from braid.errors import BraidError, Interrupted, Problem, RecipeError, RunDirectoryError, nearest
from braid.model.network import TaskSpec
from braid.parallel.world import started
from braid.run.course import HARMLESS, differences, flat
from braid.run.dataset import Say, learn, read_data, task_of
from braid.run.results import Results, Trial, by_settings
from braid.run.train import data_files, read_metrics, told, train
from braid.training.best import check_metrics

if TYPE_CHECKING:
    import optuna

INDEX, BOOK = "sweep.json", "sweep.db"
STUDY = "sweep"
SPREAD = 1_000_003
"""Keeps the random numbers of one trial apart from those of the next."""

Source = Recipe | Mapping[str, Any] | str | Path


def sweep(
    recipe: Source,
    axes: Sequence[str],
    *,
    trials: int | None = None,
    by: Sequence[str] = (),
    overwrite: bool = False,
    say: Say | None = None,
) -> Results:
    """Train a recipe with all combinations of values, or with `trials` that are drawn, and compare them on dev.

    *axes*: as on the command line, see `braid.config.axes`; those that vary nothing are overrides for all. *by*: what
    counts, `task` or `task.metric` (their mean); empty: the recipe's `train.best`, else every task's own metric.
    *overwrite*: begin anew. Every combination is validated before the first run. Trials that are finished are not
    trained again. Raises BraidError; RecipeError with the problems of all combinations."""
    say = say or told
    if started().size > 1:
        raise BraidError("a sweep runs in one process; give every trial its processes by `torchrun ... braid train`")
    found = parse_axes(axes)
    given = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe
    first = _check_points(given, found)
    if found.drawn and trials is None:
        raise BraidError("values that are drawn never end: say how many trials, --trials 20")
    by = list(by) or first.train.best
    _check_by(first, by)
    _check_metrics(first, by)
    out = Path(first.out)
    _begin(out, first, found, by, overwrite=overwrite)
    with _alone(out), _book(out) as study:
        _plan(study, found, trials)
        runner = _Runner(study, given, found, out, by, say, first.seed, trials)
        while (trial := runner.next()) is not None:
            runner.run(trial)
        done = runner.results()
    if not any(trial.score is not None for trial in done.trials):
        raise BraidError("no trial came to an end:\n    " + "\n    ".join(str(trial.error) for trial in done.trials))
    write_json(out / INDEX, {**read_mapping(out / INDEX), "results": done.to_json()})
    return done


def _check_points(given: Any, axes: Axes) -> Recipe:
    """The recipe at the first point. Raises RecipeError with the problems of all points."""
    problems: dict[str, Problem] = {}
    first = None
    for point in axes.corners():
        try:
            made = Recipe.load(given, [*axes.fixed, *_texts(point)])
            first = first or made
        except RecipeError as error:
            problems.update((str(problem), problem) for problem in error.problems)
    if problems:
        title = f"the sweep has {len(problems)} problems:" if len(problems) > 1 else None
        raise RecipeError(list(problems.values()), title=title)
    assert first is not None
    return first


def _texts(point: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in point.items()]


def _check_by(recipe: Recipe, by: Sequence[str]) -> None:
    """Raises BraidError where dev will not measure what counts."""
    tasks = [entry if entry in recipe.tasks else entry.rpartition(".")[0] for entry in by]
    for entry, task in zip(by, tasks, strict=True):
        if task not in recipe.tasks:
            near = nearest(task or entry, recipe.tasks)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(recipe.tasks)}"
            raise BraidError(f"--by {entry}: there is no such task; {hint}")
    for group in recipe.parsed_chain.groups:
        names = [link.name for link in group.tasks]
        if any(recipe.tasks[name].data.dev for name in names) and (not by or {*names} & {*tasks}):
            return
    who = f"{', '.join(tasks)} has no" if by else "no task has"
    raise BraidError(
        f"a sweep chooses by figures on dev, never on test, and {who} `data.dev`; `dev: 10%` cuts a tenth of the "
        "training rows"
    )


def _check_metrics(recipe: Recipe, by: Sequence[str]) -> None:
    """Raises BraidError for metrics that tasks have not; which they have may depend on their labels."""
    named = any(entry not in recipe.tasks for entry in by)
    facts = learn(recipe, read_data(recipe, splits=["train"])) if named else {}
    specs = {name: TaskSpec(task_of(recipe, name), facts.get(name, {})) for name in recipe.parsed_chain.names}
    check_metrics(specs, by, where="--by")


def _begin(out: Path, recipe: Recipe, axes: Axes, by: Sequence[str], *, overwrite: bool) -> None:
    """Make sure that what is there belongs to this sweep, and say what it is."""
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"out: {out} is a file, not a folder")
    there = list(out.glob("trial-*")) if out.is_dir() else []
    if overwrite:
        for path in there:
            shutil.rmtree(path)
        for name in (INDEX, BOOK):
            (out / name).unlink(missing_ok=True)
    fixed = _identity(recipe, axes, by)
    if (out / INDEX).is_file():
        lines = differences(read_mapping(out / INDEX).get("course", {}), fixed)
        if lines:
            raise RunDirectoryError(
                f"{out} holds a sweep of another recipe, other data or other values:\n    "
                + "\n    ".join(lines)
                + "\nPut these back, or use --overwrite to begin anew, or out=OTHER."
            )
    elif there and not overwrite:
        raise RunDirectoryError(
            f"{out} holds {there[0].name} but no {INDEX}: use --overwrite to replace it, or out=OTHER"
        )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / INDEX).is_file():
        write_json(out / INDEX, {"course": fixed})


def _identity(recipe: Recipe, axes: Axes, by: Sequence[str]) -> dict[str, Any]:
    """Everything that fixes what the trials are, by dotted name."""
    options = recipe.model_dump(mode="json", exclude={"out", "name", "cache"})
    options["train"] = {key: value for key, value in options["train"].items() if key not in HARMLESS}
    found = {
        name: value
        for name, value in flat(options, "")
        if not any(name == key or name.startswith(f"{key}.") for key in axes.keys)
    }
    found |= {f"values of {axis.key}": str(axis).partition("=")[2] for axis in axes.varying}
    found |= {f"data {path}": sha256_of(path) for path in data_files(recipe)}
    if axes.drawn:  # what is drawn depends on how the earlier ones did
        found["--by"] = ", ".join(by)
    return dict(json.loads(json.dumps(found, default=str)))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """No other process works on this sweep. Raises BraidError."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".sweep.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BraidError(f"another process works on the sweep in {out}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _book(out: Path) -> Iterator[optuna.Study]:
    """Optuna's study of a sweep. Raises BraidError where Optuna is not installed, or its file is damaged."""
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise BraidError("sweeps need Optuna: pip install 'braid-nlp[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{out / BOOK}")
        study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True)
    except (SQLAlchemyError, RuntimeError) as error:
        what = str(error).splitlines()[0]
        raise RunDirectoryError(f"{out / BOOK} cannot be read: {what}; --overwrite begins anew") from error
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _plan(study: optuna.Study, axes: Axes, trials: int | None) -> None:
    """Enter every point of a grid into the book, in order; none twice. What is drawn is drawn when its turn comes."""
    if not axes.drawn:
        known = {json.dumps(trial.user_attrs.get("point"), sort_keys=True) for trial in study.trials}
        for point in axes.grid[:trials]:
            if json.dumps(point, sort_keys=True) not in known:
                study.enqueue_trial(point, user_attrs={"point": point})


@dataclass
class _Runner:
    """Takes trials from the book, runs them, and enters how they did."""

    study: optuna.Study
    given: Any
    axes: Axes
    out: Path
    by: Sequence[str]
    say: Say
    seed: int
    trials: int | None

    def next(self) -> optuna.Trial | None:
        """An interrupted trial, else a new one; None: all are done."""
        import optuna
        from optuna.trial import TrialState

        for begun in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            return optuna.trial.Trial(self.study, begun._trial_id)
        number = len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)))
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if self.trials is not None and number >= self.trials:
            return None
        if not waiting and not self.axes.drawn:
            return None
        # A sampler of its own for each trial: what it draws depends on the earlier trials, not on interruptions.
        self.study.sampler = optuna.samplers.TPESampler(seed=(self.seed * SPREAD + number) % 2**32)
        return self.study.ask()

    def point(self, trial: optuna.Trial) -> dict[str, str]:
        """The values of a trial; drawn at its first time."""
        found = {axis.key: str(trial.suggest_categorical(axis.key, axis.values)) for axis in self.axes.choices}
        for axis in self.axes.drawn:
            if axis.kind == "int":
                found[axis.key] = axis.text(trial.suggest_int(axis.key, int(axis.low), int(axis.high)))
            else:
                value = trial.suggest_float(axis.key, axis.low, axis.high, log=axis.kind == "log")
                found[axis.key] = axis.text(value)
        return found

    def run(self, trial: optuna.Trial) -> None:
        """Train a trial and enter its figure; one that cannot be trained is entered as failed, unless it is the first:
        then the others would fail as well."""
        from optuna.trial import TrialState

        point, directory = self.point(trial), self.out / f"trial-{trial.number + 1}"
        trial.set_user_attr("point", point)
        recipe = Recipe.load(self.given, [*self.axes.fixed, *_texts(point), f"out={json.dumps(str(directory))}"])
        total = self.trials if self.axes.drawn else len(self.axes.grid[: self.trials])
        self.say(f"trial {trial.number + 1} of {total}: {' '.join(_texts(point))}")
        try:
            if not (directory / "metrics.json").is_file():
                begun = newest_state(directory) is not None
                run = train(recipe, resume=begun, overwrite=not begun, say=self.say)
                write_json(directory / "trial.json", {"point": point, "main": dict(run.main)})
            value = self.score(recipe, directory)
        except Interrupted as stopped:
            raise Interrupted(stopped.number, str(self.out), go_on="Go on with the same command") from None
        except BraidError as error:
            if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                raise
            self.say(f"trial {trial.number + 1} failed: {error}")
            trial.set_user_attr("error", str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            return
        self.study.tell(trial, value)

    def score(self, recipe: Recipe, directory: Path) -> float:
        """The figure of a finished trial; the greater the better. Raises BraidError where dev did not measure it."""
        dev = read_metrics(directory).get("dev", {})
        values = []
        for task, metric in self.wanted(directory).items():
            if metric in dev.get(task, {}):
                sign = -1.0 if metric in task_of(recipe, task).lower_is_better else 1.0
                values.append(sign * dev[task][metric])
            elif self.by:
                there = ", ".join(f"{name}.{one}" for name, found in dev.items() for one in found)
                raise BraidError(f"--by {task}.{metric}: {directory} has no such figure on dev; there are {there}")
        if not values:
            raise BraidError(f"{directory} has no figures on dev to go by")
        return sum(values) / len(values)

    def wanted(self, directory: Path) -> dict[str, str]:
        """Task -> metric that counts."""
        main: dict[str, str] = read_mapping(directory / "trial.json")["main"]
        if not self.by:
            return main
        pairs = [(entry, main[entry]) if entry in main else entry.rpartition(".")[::2] for entry in self.by]
        return dict(pairs)

    def results(self) -> Results:
        """All trials, the best first."""
        from optuna.trial import TrialState

        found = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)):
            directory, point = self.out / f"trial-{frozen.number + 1}", frozen.user_attrs.get("point", {})
            if frozen.state == TrialState.FAIL:
                error = frozen.user_attrs.get("error", "failed")
                found.append(Trial(frozen.number + 1, directory, point, None, {}, {}, 0.0, error))
                continue
            recipe = Recipe.load_saved(directory / "recipe.yaml")
            metrics = read_metrics(directory)
            value, seconds = self.score(recipe, directory), float(metrics["train"]["seconds"])
            dev, test = metrics.get("dev", {}), metrics.get("test", {})
            found.append(Trial(frozen.number + 1, directory, point, value, dev, test, seconds))
        found.sort(key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number))
        done = [trial for trial in found if trial.score is not None]
        wanted = self.wanted(done[0].directory) if done else {}
        return Results(self.out, self.axes.fixed, wanted, found, by_settings(done))
