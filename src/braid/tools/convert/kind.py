"""What a kind of foreign model is: a file of `braid.tools.convert.kinds` with one subclass of `Kind`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from braid.data.tokens import Tokenizer
from braid.data.vocabularies import tokenizer_from_vocab
from braid.errors import BraidError
from braid.tools.convert.model import Model
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import is_torch_file, load


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user says beside FROM and TO.

    *config*: the settings of a file that has them in another; *vocab*: its vocabulary (a vocab.txt, a tokenizer.json, a
    SentencePiece .model), and *lowercase*, whether a vocab.txt folds case; *task_type*, *labels*: of a head that does
    not say what it is; *tasks*: the heads that are wanted, None: all; *task_def*: MT-DNN's YAML; *model_type*: `bert`
    or `roberta`, where a file does not say; *exact_norms*: see docs/convert.md."""

    config: Path | None = None
    vocab: Path | None = None
    lowercase: bool | None = None
    task_type: str | None = None
    labels: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    task_def: Path | None = None
    model_type: str | None = None
    exact_norms: bool = False


class Source:
    """FROM: a path, and what a file of torch there holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def content(self) -> Any:
        """What the file of torch holds; None where it is none. Raises BraidError for a damaged one."""
        return load(self.path) if is_torch_file(self.path) else None


class Kind(ABC):
    """One kind of model files. Instances have no state."""

    name: ClassVar[str]
    """What `--to` calls it."""

    title: ClassVar[str]
    """What it is."""

    writes: ClassVar[bool] = True
    """Whether it can be written."""

    orders_tasks: ClassVar[bool] = False
    """Whether `tasks` names all heads in their order, and chooses none."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """How the name of a TO ends that can only be this kind."""

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Whether what stands at the path is of this kind, by its content."""

    @abstractmethod
    def read(self, source: Source, options: Options, report: Report) -> Model:
        """The model. Raises BraidError saying what was found and what was expected."""

    def outputs(self, path: Path) -> list[Path]:
        """All that `write` may write, so that nothing is overwritten unasked."""
        return [path]

    def write(self, model: Model, path: Path, options: Options, report: Report) -> None:
        """Write the model. Raises BraidError where this kind cannot hold it."""
        raise BraidError(f"{self.title} can be read, but not written")


def vocabulary(options: Options, beside: Path | None, rows: int, report: Report) -> Tokenizer | None:
    """The tokenizer of a model whose file holds none: of `--vocab`, or of a file *beside* it. *rows*: how many word
    embeddings there are. Raises BraidError for one of another size."""
    path = options.vocab or beside
    if path is None:
        report.missing["vocabulary"] = "no tokenizer is written; give the model's with --vocab"
        return None
    tokenizer = tokenizer_from_vocab(path, lowercase=options.lowercase)
    # What lies beside a file was written with it, and a model may have more rows than its vocabulary has tokens.
    if tokenizer.vocab_size > rows or (options.vocab is not None and tokenizer.vocab_size != rows):
        raise BraidError(
            f"{path}: the vocabulary has {tokenizer.vocab_size:,} tokens, the model {rows:,} word embeddings: they do "
            "not belong together"
        )
    return tokenizer


def labels_or_numbers(options: Options, count: int, where: str, report: Report) -> list[str]:
    """The labels of a head with `count` classes: the user's, or their numbers. Raises BraidError for another count."""
    if options.labels is None:
        report.notes.append(f"{where}: the file does not name its labels; they are called 0 to {count - 1} (--labels)")
        return [str(number) for number in range(count)]
    if len(options.labels) != count:
        raise BraidError(f"{where} has {count} classes, --labels names {len(options.labels)}")
    return list(options.labels)


def token_list(tokenizer: Tokenizer) -> bytes | None:
    """The lines of a vocab.txt; None where the tokens are no plain list (byte pairs, unigrams)."""
    ids = tokenizer.rust.get_vocab(with_added_tokens=True)
    kind = json.loads(tokenizer.rust.to_str())["model"]["type"]
    if kind not in ("WordPiece", "WordLevel") or sorted(ids.values()) != list(range(len(ids))):
        return None
    lines = "".join(f"{token}\n" for token in sorted(ids, key=lambda token: int(ids[token])))
    return lines.encode("utf-8", "surrogatepass")
