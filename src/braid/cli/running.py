"""The main way: `check`, `train`, `evaluate`, `predict`, and `demo`, which goes it with data of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, Overrides, RecipeArgument, RunArgument, Trust, console, print_figures
from braid.cli.studies import cross_validate
from braid.errors import BraidError


def check(recipe: RecipeArgument, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Look at a recipe and all its data before any training."""
    from braid.config.recipe import Recipe
    from braid.run.checking import check as run_check
    from braid.tools.check_table import render

    report = run_check(Recipe.load(recipe, overrides or []))
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        console().print(render(report))
        if not report.ok:
            raise typer.Exit(2)


def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest saved state.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is already there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume although recipe or data changed.")] = False,
    folds: Annotated[int | None, typer.Option(help="Cross-validate: so many runs, each without a part.")] = None,
) -> None:
    """Train the tasks of a recipe; writes its run directory. In several processes: torchrun --nproc-per-node N -m braid
    train ..."""
    from braid.config.recipe import Recipe
    from braid.parallel.join import joined
    from braid.run.train import train as run_training

    with joined() as world:
        loaded = Recipe.load(recipe, overrides or [])
        if folds is not None:
            cross_validate(loaded, folds, overwrite=overwrite, force=force)
            return
        run = run_training(loaded, resume=resume, overwrite=overwrite, force=force)
    if not world.first:
        return
    print_figures(run.metrics, run.main)
    kinds = {loaded.tasks[name].type for name in run.main}
    command = "cloze" if kinds <= {"mlm", "nsp", "sop"} else "generate" if kinds == {"clm"} else "predict"
    print(f"model: {run.directory}   try: braid {command} {run.directory}", file=sys.stderr)


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Every task's figures on a split of the run's own data."""
    import braid
    from braid.run.train import require_split

    require_split(split)
    model = braid.load(run, trusted=trust)
    for path in model.changed_files(split):
        print(f"{path} is no longer what it was when this run was trained", file=sys.stderr)
    scores = model.evaluate(split)
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
    else:
        print_figures({split: scores}, {name: spec.task.best(spec.facts) for name, spec in model.tasks.items()})


def predict(
    run: RunArgument,
    file: Annotated[str, typer.Argument(help="Texts or JSON rows, one a line; .conllu; - is standard input.")] = "-",
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, separated by commas.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")] = None,
    format: Annotated[str, typer.Option(help="jsonl, or conllu: tags and trees as a treebank.")] = "jsonl",
    logits: Annotated[bool, typer.Option("--logits", help="Write rows that a student can be trained on.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Use heads of another encoder all the same.")] = False,
    trust: Trust = False,
) -> None:
    """Predict every task that can read it for each line; writes JSON rows (or CoNLL-U) in the same order."""
    import braid
    from braid.data.progress import bar
    from braid.predict import conllu
    from braid.predict.inputs import read_inputs
    from braid.predict.output import written

    if format not in ("jsonl", "conllu"):
        raise BraidError(f"--format {format}: there are jsonl and conllu")
    wanted = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    if file == "-" and sys.stdin.isatty():
        print("reading texts from the terminal, one a line; end with Ctrl-D", file=sys.stderr)
    model = braid.load(run, tasks=wanted, force=force, trusted=trust)
    interactive = file == "-" and sys.stdin.isatty()
    treebank = file.removesuffix(".gz").endswith(".conllu")
    inputs = conllu.examples(file) if treebank else read_inputs(file)
    options = {"chunk": 1} if interactive else {}
    with written(output, source=file) as sink:
        results = model.stream(inputs, wanted, logits=logits, **options)
        for result in results if interactive else bar(results, "predicting"):
            line = json.dumps(result.to_json(), ensure_ascii=False) + "\n"
            if format == "conllu":
                line = conllu.to_conllu(result, model.tasks)
            # A lone surrogate cannot be written as UTF-8; its JSON escape can.
            sink.write(line.encode("utf-8", "backslashreplace").decode("utf-8"))
            if interactive:
                sink.flush()
        sink.flush()


def demo(
    folder: Annotated[Path, typer.Argument(help="Where data and run go.")] = Path("demo"),
    overrides: Overrides = None,
) -> None:
    """Make data, train four tasks at once from scratch, evaluate, predict. About two minutes on 2 cores."""
    from braid.run.demo import demo as run_demo

    run = run_demo(folder, overrides or [])
    print_figures(run.metrics, run.main)
