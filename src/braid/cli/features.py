"""The commands that show what a model holds of texts and words: `embed`, `embeddings`, `nearest`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import AsJson, ModelArgument, Trust, console
from braid.errors import BraidError

Layer = Annotated[
    int | None, typer.Option(help="Which layer: 0 the embeddings, 1 the first, -1 the last.", show_default=False)
]


def embed(
    run: ModelArgument,
    file: Annotated[str, typer.Argument(help="Texts or JSON rows, one a line; - is standard input.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="features.npy, .parquet or .jsonl", show_default=False)
    ],
    layer: Layer = None,
    pooling: Annotated[
        str | None, typer.Option(help="cls, mean, max, or weighted: later tokens weigh more.", show_default=False)
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Every token's vector, not one for each text.")] = False,
    task: Annotated[str | None, typer.Option(help="The similarity task, where there are several.")] = None,
    whiten: Annotated[
        str | None, typer.Option(metavar="DIM|full", help="Whiten to so many dimensions.", show_default=False)
    ] = None,
    whiten_on: Annotated[
        str | None, typer.Option(metavar="FILE", help="Fit the whitening on these texts instead.", show_default=False)
    ] = None,
    whitening: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use a whitening that was saved.", show_default=False)
    ] = None,
    trust: Trust = False,
) -> None:
    """Write features of texts to a file: those of a similarity task where the model has one, else the mean of the last
    layer; or of any layer, pooled or token by token."""
    import braid
    from braid.data.progress import counting
    from braid.predict.embed import FeatureOptions, embed_to
    from braid.predict.feature_files import check_name
    from braid.predict.inputs import read_inputs

    fit = None if whiten_on is None else read_inputs(whiten_on)
    options = FeatureOptions(layer, pooling, task, tokens, whiten, fit, whitening)
    options.check()
    for read in (file, whiten_on or ""):
        check_name(output, source=read)
    if file == "-" and sys.stdin.isatty():
        print("reading texts from the terminal, one a line; end with Ctrl-D", file=sys.stderr)
    model = braid.load(run, trusted=trust)
    with counting() as told:
        done = embed_to(
            model.reader, model.encoder_sha256, read_inputs(file), output, options, told=told, choose=model.vectors
        )
    if done.cut:
        print(f"{done.cut:,} texts were longer than {model.max_length} tokens and lost their end", file=sys.stderr)
    what = f"{done.vectors:,} tokens of {done.texts:,} texts" if tokens else f"{done.texts:,} texts"
    print(f"{output}: {what}, {done.size} numbers each ({done.of})", file=sys.stderr)
    if done.whitening is not None:
        print(f"{done.whitening}: the whitening, for --whitening", file=sys.stderr)


def embeddings(
    run: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write; - is standard output.")],
) -> None:
    """Write the vectors of all tokens in word2vec's text format."""
    import braid
    from braid.predict.embeddings import write_table

    model = braid.load(run, tasks=None)
    table = model.network.encoder.word_embeddings.detach().float().cpu().numpy()
    done = write_table(table, model.tokenizer, output)
    escaped = f"; {done.escaped:,} with spaces or backslashes are escaped" if done.escaped else ""
    print(f"{output}: {done.tokens:,} tokens, {done.size} numbers each{escaped}", file=sys.stderr)


def nearest(
    run: ModelArgument,
    words: Annotated[list[str] | None, typer.Argument(help="Words; without any, one a line of standard input.")] = None,
    sentence: Annotated[
        str | None, typer.Option("--in", metavar="TEXT", help="Compare in this sentence, by hidden states.")
    ] = None,
    contexts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sentences and words, separated by a tab, one pair a line.")
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is compared, a word a line; without it, the vocabulary.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Neighbours of each word.")] = 10,
    layer: Annotated[int, typer.Option(help="In a sentence: which layer's hidden states.")] = -1,
    as_json: AsJson = False,
) -> None:
    """The words nearest to words: by the vectors of their tokens, or, in a sentence, by what the encoder makes of them
    there when each candidate is put in their place."""
    import json

    import braid
    from braid.data.progress import counting
    from braid.predict.nearest import known_words
    from braid.predict.neighbour_table import render, word_list, word_pairs

    if contexts is not None and (words or sentence is not None):
        raise BraidError("--contexts brings its own sentences and words: give no word and no --in beside it")
    listed = None if candidates is None else word_list(candidates)
    pairs = None if contexts is None else word_pairs(contexts)
    given = [] if pairs is not None else words or [line.strip().lstrip("\ufeff") for line in sys.stdin if line.strip()]
    if pairs is None and not given:
        raise BraidError("there is no word: give some, or one a line on standard input")
    if sentence is not None:
        pairs = [(sentence, word) for word in given]
    model = braid.load(run)
    if listed is not None:
        listed, unknown = known_words(listed, model.tokenizer)
        if unknown:
            print(f"{unknown:,} candidates are left out: the vocabulary has no piece of them", file=sys.stderr)
    with counting() as told:
        found = model.nearest(given if pairs is None else pairs, candidates=listed, top=top, layer=layer, told=told)
    if as_json:
        for one in found:
            print(json.dumps(one.to_json(), ensure_ascii=False))
    else:
        for part in render(found):
            # A sentence may hold what rich takes for markup.
            console().print(part, markup=False, highlight=False)
