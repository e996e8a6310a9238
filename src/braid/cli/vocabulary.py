"""`braid vocab`: vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, console

vocab = typer.Typer(help="Make, compare and change vocabularies.", no_args_is_help=True)


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


@vocab.command("diff")
def vocab_diff(
    first: Annotated[Path, typer.Argument(help="A run, encoder or tokenizer directory, or a vocabulary's file.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    samples: Annotated[int, typer.Option(min=0, help="Tokens that are shown of each part.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Compare two vocabularies: their sizes, what both have, what only one has."""
    import json

    from rich.table import Table

    from braid.tools.vocab_diff import diff_vocab

    found = diff_vocab(first, second)
    if as_json:
        print(json.dumps(found.to_json(samples), ensure_ascii=False))
        return
    for name, side in (("A", found.first), ("B", found.second)):
        repeated = f", {side.repeated:,} lines repeat others" if side.repeated else ""
        print(f"{name}: {side.path}: {side.kind}, {len(side.ids):,} tokens{repeated}")
    table = Table()
    for column in ("", "tokens", "of A", "of B", "for example"):
        table.add_column(column, justify="right" if column.startswith(("t", "o")) else "left")
    a, b = len(found.first.ids) or 1, len(found.second.ids) or 1
    for name, tokens, of_a, of_b in (
        ("in both", found.both, True, True),
        ("in A only", found.only_first, True, False),
        ("in B only", found.only_second, False, True),
    ):
        shares = (f"{len(tokens) / size:.1%}" if wanted else "" for size, wanted in ((a, of_a), (b, of_b)))
        # From the middle: the first tokens are special ones and rare letters.
        middle = max(0, (len(tokens) - samples) // 2)
        table.add_row(name, f"{len(tokens):,}", *shares, " ".join(tokens[middle : middle + samples]))
    console().print(table)
    if found.moved:
        print(f"{found.moved:,} of those in both have another id in B")


@vocab.command("adapt")
def vocab_adapt(
    model: Annotated[Path, typer.Argument(help="A run directory, or an encoder in transformers' layout.")],
    out: Annotated[Path, typer.Option(help="Where the adapted model goes.", show_default=False)],
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Text whose tokens stay (with --vocab: to measure on); may be repeated.",
        ),
    ] = None,
    vocab: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The vocabulary to have: a tokenizer directory, or its file.")
    ] = None,
    min_frequency: Annotated[int, typer.Option(min=1, help="With --corpus: rarer tokens do not stay.")] = 1,
    column: Annotated[
        list[str] | None, typer.Option(help="Where the text is, in files with several columns; may be repeated.")
    ] = None,
    characters: Annotated[
        bool, typer.Option("--characters", help="Keep what characters become alone, for tagging by characters.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what this command made there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a model the vocabulary of a task: fewer tokens of its own, or those of another vocabulary."""
    import json
    from dataclasses import asdict

    from braid.tools.vocab_adapt import adapt_vocab

    done = adapt_vocab(
        model,
        out,
        corpus=corpus or (),
        vocab=vocab,
        min_frequency=min_frequency,
        columns=column or (),
        characters=characters,
        overwrite=overwrite,
    )
    if as_json:
        print(json.dumps(asdict(done), ensure_ascii=False))
        return
    print(f"{out}: {done.tokens_after:,} tokens, before {done.tokens_before:,}")
    if vocab is not None:
        made = f"{done.made:,} made of their pieces, {done.unknown:,} of nothing that was known"
        print(f"rows: {done.kept:,} kept, {made}")
    if done.known_after is not None:
        print(f"known: {done.known_after:.3%} of the corpus' tokens, before {done.known_before:.3%}")
    before, after = done.bytes_before / 1e6, done.bytes_after / 1e6
    change = f"{abs(before - after):,.1f} MB {'less' if after <= before else 'more'}"
    print(f"weights: {after:,.1f} MB, before {before:,.1f} MB: {change}")
