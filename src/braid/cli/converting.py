"""`braid convert`: model files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="FROM", help="A model; its content tells of which kind.", show_default=False)
    ],
    target: Annotated[Path, typer.Argument(metavar="TO", help="Where to write it.", show_default=False)],
    to: Annotated[
        str | None,
        typer.Option(
            help="braid, transformers, uer or tensorflow. Without it: uer for a .bin; else braid, or transformers of "
            "a run directory.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The model's settings (JSON), of files without them.")] = None,
    vocab: Annotated[
        Path | None, typer.Option(help="Its vocabulary: vocab.txt, tokenizer.json or a SentencePiece .model.")
    ] = None,
    lowercase: Annotated[
        bool | None, typer.Option("--lowercase/--no-lowercase", help="Whether a vocab.txt folds case; it does.")
    ] = None,
    task_type: Annotated[
        str | None, typer.Option(help="What the head is (classification, tagging, span, ...), where that is unclear.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="The head's labels in order, with commas; or a file: one a line, or a label2id JSON."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only these tasks, with commas. Of MT-DNN: the names of its heads in order.")
    ] = None,
    task_def: Annotated[Path | None, typer.Option(help="MT-DNN's task definition YAML.")] = None,
    model_type: Annotated[
        str | None, typer.Option(help="bert or roberta, of a UER-py file; without it bert.", show_default=False)
    ] = None,
    exact_norms: Annotated[
        bool, typer.Option("--exact-norms", help="Scale norms to what UER-py itself computes; else they are copied.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Convert a model: transformers, UER-py and TencentPretrain, TensorFlow, MT-DNN, Braid."""
    from braid.tools.convert import convert as convert_model
    from braid.tools.convert.labels import read_labels

    report = convert_model(
        source,
        target,
        to=to,
        config=config,
        vocab=vocab,
        lowercase=lowercase,
        task_type=task_type,
        labels=None if labels is None else read_labels(labels),
        tasks=None if task is None else [name.strip() for name in task.split(",")],
        task_def=task_def,
        model_type=model_type,
        exact_norms=exact_norms,
        overwrite=overwrite,
    )
    print("\n".join(report.lines()))
