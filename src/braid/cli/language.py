"""The commands of language models: `prepare`, `generate`, `cloze`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from braid.cli.arguments import AsJson, ModelArgument, Overrides, RecipeArgument, RunArgument


def prepare(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the shards; without it, the recipe's cache.")] = None,
    shard: Annotated[str, typer.Option(help="Which part of the work, `3/8`; with --out.")] = "1/1",
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
) -> None:
    """Tokenise the corpora of a recipe into shards, before training or on several machines."""
    from braid.config.recipe import Recipe
    from braid.run.preparing import prepare as run_prepare

    for line in run_prepare(Recipe.load(recipe, overrides or []), out=out, shard=shard, split=split):
        print(line)


def generate(
    run: RunArgument,
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Prompts; without any, one a line of standard input.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The clm task, where there are several.")] = None,
    longest: Annotated[int, typer.Option("--max-tokens", min=1, help="Tokens to write at most.")] = 100,
    beams: Annotated[int, typer.Option(min=1, help="Search the best of so many; 1 is greedy.")] = 1,
    sample: Annotated[bool, typer.Option("--sample", help="Draw tokens at random.")] = False,
    temperature: Annotated[float, typer.Option(min=0.01, help="With --sample: logits are divided by this.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="With --sample: of so many most probable tokens.")] = None,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1, help="With --sample: of those that make up this share.")
    ] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(min=0.1, help="Above 1: tokens that are there get rarer.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="With --sample: another seed, another text.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Write on from prompts with a language model (a clm task)."""
    import braid

    given = prompts or [line.rstrip("\n") for line in sys.stdin]
    model = braid.load(run)
    options: dict[str, Any] = {
        "longest": longest,
        "beams": beams,
        "sample": sample,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    streaming = len(given) == 1 and not as_json and sys.stdout.isatty() and (sample or beams == 1)
    if streaming:
        shown = ""

        def told(whole: str) -> None:
            nonlocal shown
            # A character of several tokens is not whole before its last one.
            if whole.startswith(shown) and not whole.endswith("\ufffd"):
                print(whole[len(shown) :], end="", flush=True)
                shown = whole

        model.generate(given, task=task, told=told, **options)
        print()
        return
    for found in model.generate(given, task=task, **options):
        if as_json:
            print(json.dumps(asdict(found), ensure_ascii=False))
        else:
            print(found.whole)


def cloze(
    run: ModelArgument,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts with [MASK]; without any, lines of standard input.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The mlm task, where there are several.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Guesses for each mask.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Where a text without a mask gets one.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Fill the masks of texts with a masked language model (an mlm task)."""
    import braid

    given = texts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for found in braid.load(run).cloze(given, task=task, top=top, seed=seed):
        if as_json:
            print(json.dumps(found.to_json(), ensure_ascii=False))
            continue
        print(found.text)
        for number, blank in enumerate(found.blanks, 1):
            guesses = "  ".join(f"{guess.token} {guess.probability:.3f}" for guess in blank.guesses)
            was = f"  (was {blank.original})" if blank.original is not None else ""
            print(f"  {number}: {guesses}{was}")
