"""`braid average`: the mean of several models' weights as a model of its own.

Models that began at the same weights often lie in one basin of the loss, and their mean is better than each of them
(stochastic weight averaging, Izmailov et al. 2018, arXiv 1803.05407; model soups, Wortsman et al. 2022, arXiv
2203.05482). All is done on the files, one tensor at a time.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from braid.checkpoint.files import load_tensors, read_mapping, replace_directory, save_tensors, write_bytes, write_json
from braid.checkpoint.model_files import file_sha256, task_names
from braid.config.recipe import Recipe
from braid.errors import BraidError, Problem, ProblemsError, RunDirectoryError, nearest
from braid.model.evaluate import Scores
from braid.predict.model import Model
from braid.tools.average_checks import check_alike
from braid.training.best import best_metrics, check_metrics, score

Say = Callable[[str], None]
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Ingredient:
    """One model to average: how the user calls it, and the run directory that holds it."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Share:
    """What became of an ingredient: its *weight* in the mean (0: left out), and its own figures on dev, if known."""

    name: str
    weight: float
    dev: Scores


@dataclass(frozen=True)
class Average:
    """A finished average: its directory, its figures (what metrics.json holds), the metric that counts by task, and
    what it was made of."""

    directory: Path
    metrics: Mapping[str, Any]
    main: Mapping[str, str]
    shares: list[Share]


def average(
    ingredients: Sequence[Ingredient],
    out: Path,
    *,
    weights: Sequence[float] | None = None,
    greedy: bool = False,
    by: Sequence[str] = (),
    overwrite: bool = False,
    say: Say = lambda message: None,
) -> Average:
    """Average models and write the result as a run directory with figures of its own.

    *weights*: one for each, scaled to a sum of 1; None: all the same. *greedy*: take the models in the order of their
    figures on dev, and keep each that does not make the mean worse there (Wortsman et al. 2022, recipe 1). *by*: what
    the figure is, `task` or `task.metric`; empty: the mean of all tasks. Data and options are those of the first
    model's recipe. Raises BraidError naming everything that does not fit."""
    _check_out(out, ingredients, overwrite=overwrite)
    if greedy and weights is not None:
        raise BraidError("--greedy gives all that it keeps the same weight, so it takes no --weights")
    shares = _scaled(weights, len(ingredients))
    check_alike([(one.name, one.folder) for one in ingredients], say)
    for remark in _origins(ingredients):
        say(remark)
    dev = [_own_figures(one.folder) for one in ingredients]
    if greedy:
        shares, dev = _greedy(ingredients, by, say)
    figures: dict[str, Any] = {}
    main: dict[str, str] = {}

    def fill(folder: Path) -> None:
        kept = [(one, share) for one, share in zip(ingredients, shares, strict=True) if share]
        write_average(folder, kept, ingredients[0].folder / "recipe.yaml", out)
        found, counts = _figures(folder, say)
        figures.update(found)
        main.update(counts)
        write_json(folder / "metrics.json", found)

    replace_directory(out, fill)
    parts = [Share(one.name, share, own) for one, share, own in zip(ingredients, shares, dev, strict=True)]
    return Average(out, figures, main, parts)


def write_average(folder: Path, parts: Sequence[tuple[Ingredient, float]], recipe: Path, out: Path) -> None:
    """Write encoder, heads and recipe of a mean; *parts*: models that fit each other, with weights of sum 1; *recipe*:
    which says where data is; *out*: what it says of its run directory."""
    first = parts[0][0].folder
    others = shutil.ignore_patterns(WEIGHTS, "model-*.safetensors", "*.index.json", ".*")
    shutil.copytree(first / "encoder", folder / "encoder", ignore=others, dirs_exist_ok=True)
    save_tensors(folder / "encoder" / WEIGHTS, mean([(p.folder / "encoder" / WEIGHTS, w) for p, w in parts]))
    sha256 = file_sha256(folder / "encoder" / WEIGHTS)
    for name in task_names(first):
        (folder / "tasks" / name).mkdir(parents=True, exist_ok=True)
        head = Path("tasks") / name / "head.safetensors"
        save_tensors(folder / head, mean([(p.folder / head, w) for p, w in parts]))
        content = read_mapping(first / "tasks" / name / "task.json")
        write_json(folder / "tasks" / name / "task.json", {**content, "encoder_sha256": sha256})
    saved = Recipe.load_saved(recipe).model_copy(update={"out": str(out)})
    write_bytes(folder / "recipe.yaml", saved.to_yaml().encode())
    made_of = [
        {"run": p.name, "weight": w, "encoder_sha256": file_sha256(p.folder / "encoder" / WEIGHTS)} for p, w in parts
    ]
    environment = read_mapping(first / "environment.json")
    date = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(folder / "environment.json", {**environment, "date": date, "averaged": made_of})


def mean(files: Sequence[tuple[Path, float]]) -> dict[str, Tensor]:
    """The weighted mean of every tensor, summed in float64; whole numbers must be the same in all.

    Raises RunDirectoryError where they are not."""
    out: dict[str, Tensor] = {}
    opened = [(path, safe_open(str(path), framework="pt"), weight) for path, weight in files]
    for name in opened[0][1].keys():  # noqa: SIM118  (not a mapping)
        first: Tensor = opened[0][1].get_tensor(name)
        if not first.is_floating_point():
            for path, file, _ in opened[1:]:
                if not torch.equal(first, file.get_tensor(name)):
                    raise RunDirectoryError(f"{path}: {name} holds other whole numbers than {files[0][0]}")
            out[name] = first
            continue
        total = torch.zeros(first.shape, dtype=torch.float64)
        for _, file, weight in opened:
            total.add_(file.get_tensor(name).double(), alpha=weight)
        out[name] = total.to(first.dtype)
    return out


def _greedy(ingredients: Sequence[Ingredient], by: Sequence[str], say: Say) -> tuple[list[float], list[Scores]]:
    """The weight of each model, and its own figures on dev."""
    with tempfile.TemporaryDirectory(prefix="braid-average-") as scratch:

        def judged(numbers: Sequence[int]) -> tuple[float, Scores]:
            folder = Path(scratch) / "soup"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            # The recipe, and so the dev data, is the first model's for all; with one weight of 1 the mean is a copy.
            chosen = [(ingredients[k], 1 / len(numbers)) for k in numbers]
            write_average(folder, chosen, ingredients[0].folder / "recipe.yaml", folder)
            model = Model.load(folder)
            _check_by(by, model)
            scores = model.evaluate("dev", tune=True)
            value = score(scores, best_metrics(model.tasks, by), model.tasks)
            if value is None:
                raise BraidError(f"dev measures nothing that --by {', '.join(by)} could go by: {_measured(scores)}")
            return value, scores

        alone = [judged([k]) for k in range(len(ingredients))]
        order = sorted(range(len(ingredients)), key=lambda k: -alone[k][0])
        soup, best = [order[0]], alone[order[0]][0]
        say(f"{ingredients[order[0]].name}: {best:.4f} on dev by itself; the mean begins with it")
        for k in order[1:]:
            value, _ = judged([*soup, k])
            kept = value >= best
            say(
                f"{ingredients[k].name}: {alone[k][0]:.4f} by itself, {value:.4f} in the mean: "
                + ("kept" if kept else "left out")
            )
            if kept:
                soup, best = [*soup, k], value
    return [1 / len(soup) if k in soup else 0.0 for k in range(len(ingredients))], [scores for _, scores in alone]


def _check_by(by: Sequence[str], model: Model) -> None:
    for entry in by:
        if entry not in model.tasks and entry.rpartition(".")[0] not in model.tasks:
            near = nearest(entry, model.tasks)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(model.tasks)}"
            raise BraidError(f"--by {entry}: there is no such task; {hint}")
    check_metrics(model.tasks, by, where="--by")


def _measured(scores: Scores) -> str:
    return "there are " + ", ".join(f"{task}.{metric}" for task, found in scores.items() for metric in found)


def _figures(folder: Path, say: Say) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of a mean on the splits that are there; thresholds are tuned on dev and saved, as training does."""
    model = Model.load(folder)
    recipe = Recipe.load_saved(folder / "recipe.yaml")
    figures: dict[str, Any] = {}
    for split in ("dev", "test"):
        if not any(getattr(task.data, split) for task in recipe.tasks.values()):
            continue
        try:
            figures[split] = model.evaluate(split, tune=split == "dev")
        except BraidError as error:
            say(f"no figures on {split}: {error}")
            continue
        if split == "dev":
            _save_tuned(folder, model)
    return figures, {name: spec.task.best(spec.facts) for name, spec in model.tasks.items()}


def _save_tuned(folder: Path, model: Model) -> None:
    for name, head in model.network.heads():
        if head.tunes:
            path = folder / "tasks" / name / "head.safetensors"
            tensors = load_tensors(path)
            tuned = {key: buffer.cpu() for key, buffer in head.named_buffers() if key in tensors}
            save_tensors(path, {**tensors, **tuned})


def _own_figures(folder: Path) -> Scores:
    """What a run's metrics.json says of dev; nothing where there is none."""
    try:
        found = read_mapping(folder / "metrics.json").get("dev", {})
    except BraidError:
        return {}
    return found if isinstance(found, dict) else {}


def _origins(ingredients: Sequence[Ingredient]) -> list[str]:
    """Why a mean can hardly be good, where the models began at different weights."""
    recipes = [Recipe.load_saved(one.folder / "recipe.yaml") for one in ingredients]
    origins: dict[str, str] = {}
    for recipe, one in zip(recipes, ingredients, strict=True):
        origins.setdefault(recipe.encoder.pretrained or f"random weights of seed {recipe.seed}", one.name)
    if len(origins) < 2:
        return []
    began = "; ".join(f"{name} at {origin}" for origin, name in origins.items())
    return [f"these models began at different weights, whose mean is rarely good: {began}"]


def _scaled(weights: Sequence[float] | None, n: int) -> list[float]:
    if weights is None:
        return [1 / n] * n
    if len(weights) != n:
        raise BraidError(f"--weights: there are {len(weights)} weights for {n} models")
    if not all(0 <= weight < float("inf") for weight in weights) or not sum(weights):
        raise BraidError("--weights: each is a number of at least 0, and one at least is greater")
    return [weight / sum(weights) for weight in weights]


def _check_out(out: Path, ingredients: Sequence[Ingredient], *, overwrite: bool) -> None:
    if len(ingredients) < 2:
        raise BraidError("there is one model only; a mean needs two or more (runs, or saved states of a run)")
    twice = sorted({one.name for one in ingredients if [x.name for x in ingredients].count(one.name) > 1})
    problems = [Problem(what=f"{name} is named twice", todo="use --weights to give it more") for name in twice]
    taken = [
        one.name
        for one in dict.fromkeys(ingredients)
        if out.resolve() in (one.folder.resolve(), *one.folder.resolve().parents)
    ]
    problems += [Problem(what=f"--out {out} would replace {name}, which is averaged") for name in taken]
    if out.exists() and not out.is_dir():
        problems.append(Problem(what=f"--out {out} is a file, not a folder"))
    elif out.exists() and any(out.iterdir()) and not overwrite and not taken:
        problems.append(Problem(what=f"--out {out} is there already", todo="use --overwrite to replace it"))
    elif out.exists() and any(out.iterdir()) and not (out / "encoder").is_dir() and not taken:
        problems.append(Problem(what=f"--out {out} holds something that is no run; it is not replaced"))
    if problems:
        raise ProblemsError(problems)
