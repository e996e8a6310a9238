"""The command line: `braid train recipe.yaml`. Exit codes: 0 done, 2 the user's input is wrong, 1 ours.

Heavy imports stand inside the commands, so that `braid --help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.cli_language import AsJson, Overrides, RecipeArgument, RunArgument, cloze, generate, prepare
from braid.errors import BraidError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="braid",
    help="One text encoder that does many tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        import braid

        print(f"braid {braid.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One text encoder that does many tasks."""
    global _debug
    _debug = debug or bool(os.environ.get("BRAID_DEBUG"))


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest saved state.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is already there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume although recipe or data changed.")] = False,
) -> None:
    """Train the tasks of a recipe; writes its run directory. In several processes: torchrun --nproc-per-node N -m braid
    train ..."""
    from braid.config.recipe import Recipe
    from braid.parallel.join import joined
    from braid.run.train import train as run_training

    with joined() as world:
        loaded = Recipe.load(recipe, overrides or [])
        run = run_training(loaded, resume=resume, overwrite=overwrite, force=force)
    if not world.first:
        return
    _print_figures(run.metrics, run.main)
    kinds = {loaded.tasks[name].type for name in run.main}
    command = "cloze" if kinds <= {"mlm", "nsp", "sop"} else "generate" if kinds == {"clm"} else "predict"
    print(f"model: {run.directory}   try: braid {command} {run.directory}", file=sys.stderr)


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Every task's figures on a split of the run's own data."""
    import braid
    from braid.run.train import require_split

    require_split(split)
    model = braid.load(run)
    for path in model.changed_files(split):
        print(f"{path} is no longer what it was when this run was trained", file=sys.stderr)
    scores = model.evaluate(split)
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
    else:
        _print_figures({split: scores}, {name: spec.task.best(spec.facts) for name, spec in model.tasks.items()})


@app.command()
def predict(
    run: RunArgument,
    file: Annotated[str, typer.Argument(help="Texts or JSON rows, one a line; .conllu; - is standard input.")] = "-",
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, separated by commas.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")] = None,
    format: Annotated[str, typer.Option(help="jsonl, or conllu: tags and trees as a treebank.")] = "jsonl",
    logits: Annotated[bool, typer.Option("--logits", help="Write rows that a student can be trained on.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Use heads of another encoder all the same.")] = False,
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
    model = braid.load(run, tasks=wanted, force=force)
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


for language_command in (prepare, generate, cloze):
    app.command()(language_command)

vocab = typer.Typer(help="Make vocabularies.", no_args_is_help=True)
app.add_typer(vocab, name="vocab")


@vocab.command("build")
def vocab_build(
    corpus: Annotated[
        list[str], typer.Argument(help="Text files, a document or sentence a line, or jsonl; patterns in quotes.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tokenizer.", show_default=False)],
    kind: Annotated[str, typer.Option("--type", help="wordpiece, bpe, unigram, character or word.")] = "wordpiece",
    size: Annotated[int, typer.Option(help="Tokens at most, special ones included.")] = 21128,
    lowercase: Annotated[
        bool | None, typer.Option("--lowercase/--no-lowercase", help="Fold case; without either, all but bpe do.")
    ] = None,
    min_frequency: Annotated[
        int, typer.Option(min=0, help="How often characters, words and pairs of pieces must occur.")
    ] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="Documents to read at most.")] = None,
    column: Annotated[str | None, typer.Option(help="Where the text is, in files with several columns.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a vocabulary that is there.")] = False,
) -> None:
    """Train a vocabulary on texts; writes a tokenizer that recipes name as `encoder.vocab`."""
    from braid.tools.vocab import build_vocab

    built = build_vocab(
        corpus,
        out,
        kind=kind,  # type: ignore[arg-type]
        size=size,
        lowercase=lowercase,
        min_frequency=min_frequency,
        limit=limit,
        column=column,
        overwrite=overwrite,
    )
    print(f"{out}: a {built.kind} vocabulary of {built.size:,} tokens from {built.documents:,} documents")
    print(f"in a sample of them: {built.characters:.2f} characters a token, {built.unknown:.2%} of tokens unknown")
    print(f"for example: {' '.join(built.tokens)}")


@app.command()
def check(recipe: RecipeArgument, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Look at a recipe and all its data before any training."""
    from braid.config.recipe import Recipe
    from braid.run.checking import check as run_check
    from braid.tools.check_table import render

    report = run_check(Recipe.load(recipe, overrides or []))
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        _console().print(render(report))
        if not report.ok:
            raise typer.Exit(2)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where data and run go.")] = Path("demo"),
    overrides: Overrides = None,
) -> None:
    """Make data, train four tasks at once from scratch, evaluate, predict. About two minutes on 2 cores."""
    from braid.run.demo import demo as run_demo

    run = run_demo(folder, overrides or [])
    _print_figures(run.metrics, run.main)


@app.command("list")
def list_variants(
    family: Annotated[str | None, typer.Argument(help="tasks, encoders, sources, samplers or balancers.")] = None,
    as_json: AsJson = False,
) -> None:
    """The variants that recipes can name: type, what it is, file."""
    from rich.markup import escape
    from rich.table import Table

    from braid.config.families import TaskConfig  # noqa: F401  (registers the families)
    from braid.config.schema import list_variants as listing
    from braid.config.variant import families
    from braid.errors import did_you_mean

    known = {base.family: base for base in families()}
    if family is not None and family not in known:
        raise BraidError(f"there is no family {family!r}: {did_you_mean(family, known)}")
    rows = {name: listing(name) for name in known if family in (None, name)}
    if as_json:
        print(json.dumps({name: [list(row) for row in found] for name, found in rows.items()}, ensure_ascii=False))
        return
    for name, found in rows.items():
        table = Table("type", "what", "file", title=name, title_justify="left", box=None, title_style="bold")
        for kind, path, line in found:
            table.add_row(kind, escape(line), _short(path))
        _console().print(table)


@app.command()
def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from braid.config.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))


def _console() -> Console:
    """As wide as the terminal; in a file or a pipe wide enough for paths."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)


def _short(path: str) -> str:
    """A file's path, relative to here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def _print_figures(metrics: Mapping[str, Any], main: Mapping[str, str]) -> None:
    from braid.training.progress import results_table

    if any(metrics.get(split) for split in ("dev", "test")) or "seconds" not in metrics.get("train", {"seconds": 0}):
        _console().print(results_table(metrics, main))
    else:
        print("no dev or test data, so nothing to score", file=sys.stderr)


def main() -> None:
    """The command `braid`."""
    # Under torchrun, torch's C++ parts would remark on what is meant to be so (DDP: heads without a row in a step).
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BraidError as error:
        if _debug:
            traceback.print_exc()
        print(f"braid: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"braid: {stopped}", file=sys.stderr)
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        traceback.print_exc()
        print("braid: this is a bug in Braid, not in what you gave it.", file=sys.stderr)
        sys.exit(1)
