"""`braid vocab`: vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

vocab = typer.Typer(help="Make vocabularies.", no_args_is_help=True)


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
