"""`braid vocab adapt`: a model with the vocabulary of a task in place of its own.

Shape legend: V tokens of the old vocabulary, W of the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braid.checkpoint.bare import directory_of, encoder_directory, is_run, load_any, word_table_name
from braid.checkpoint.files import load_tensors, read_mapping, replace_directory, save_tensors, write_json
from braid.checkpoint.model_files import LoadedModel, file_sha256
from braid.data.corpus.documents import Documents, pieces
from braid.data.progress import counting
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import tokenizer_from_vocab
from braid.encoders.hf import POSITIONS_AFTER_PADDING
from braid.encoders.weights import Checkpoint, read_config
from braid.errors import BraidError
from braid.tools.vocab import text_sources
from braid.tools.vocab_rows import Origins, origins, resized
from braid.tools.vocab_shrink import Shrunk, shrunk, unchanged

MARK = "adapted.json"
"""Says how a directory was made; only such a directory is replaced."""

BATCH = 2000
"""Lines that are tokenised at a time."""

CHECKED = 20_000
"""Lines on which old and new tokenizer are compared."""

_WEIGHTS = (".safetensors", ".index.json", ".bin", ".pt", ".h5", ".msgpack", ".onnx", ".ot", ".model")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "config.json",
)
_HEADS = ("cls.", "lm_head.", "predictions.", "vocab_projector.", "generator_lm_head.", "decoder.")
"""What the names of transformers' pre-training heads begin with."""


@dataclass(frozen=True)
class Adapted:
    """What was made. *tokens_before*, *tokens_after*: sizes of the vocabularies; *kept*, *made*, *unknown*: as for
    `braid.tools.vocab_rows.Origins`; *bytes_before*, *bytes_after*: of all weights; *known_before*,
    *known_after*: the share of the corpus' tokens that are not [UNK]; None without a corpus."""

    source: str
    tokens_before: int
    tokens_after: int
    kept: int
    made: int
    unknown: int
    bytes_before: int
    bytes_after: int
    known_before: float | None
    known_after: float | None


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each token [V] occurs in a corpus, and its first *lines*."""

    tokens: np.ndarray
    lines: list[str]

    def known(self, tokenizer: Tokenizer, whole: Counts | None) -> float:
        """The share of tokens that are not [UNK], of all those of *whole*."""
        assert whole is not None
        unknown = 0 if tokenizer.unk_id is None else self.tokens[tokenizer.unk_id]
        return float((self.tokens.sum() - unknown) / whole.tokens.sum())


def adapt_vocab(
    source: Path,
    out: Path,
    *,
    corpus: Sequence[str] = (),
    vocab: Path | None = None,
    min_frequency: int = 1,
    columns: Sequence[str] = (),
    characters: bool = False,
    overwrite: bool = False,
) -> Adapted:
    """Write the run directory or encoder *source* to *out* with another vocabulary: with the tokens of its own that
    *corpus* (files, patterns) holds at least *min_frequency* times, or with that of a tokenizer *vocab* (of which a
    corpus then only says how well it fits).

    Rows of tokens that stay are bitwise the same; a new token's is the mean of its pieces'. All that has a row per
    token follows: embeddings, outputs of language models, biases. *columns*: where the text is, in files that have
    several; *characters*: count characters that stand alone too, as tagging by characters reads them (a run that has
    such a task does it by itself). Raises BraidError for what does not fit, before anything is written."""
    if not corpus and vocab is None:
        raise BraidError("give --corpus FILES, whose tokens stay, or --vocab, the vocabulary to have")
    source = directory_of(source)
    _check_out(out, source, overwrite=overwrite)
    folder = encoder_directory(source)
    loaded = load_any(source)
    apart = characters or any(
        spec.labelled.reads(spec.facts)[1] == "characters" for spec in loaded.network.specs.values() if spec.predicts
    )
    old = loaded.tokenizer
    counts = _count(old, corpus, columns, characters=apart) if corpus else None
    if vocab is None:
        assert counts is not None
        made = shrunk(old, np.flatnonzero(counts.tokens >= max(1, min_frequency)).tolist())
        _check_same(old, made, counts.lines)
        new, found = made.tokenizer, Origins([[number] for number in made.kept], len(made.kept), 0, 0)
        after: Counts | None = Counts(counts.tokens[made.kept], [])
    else:
        new = _new_tokenizer(vocab, old)
        found = origins(old, new)
        after = _count(new, corpus, columns, characters=apart) if corpus else None
    _check_padding(loaded, new, folder)
    size = len(found.rows)
    replace_directory(out, lambda there: _write(there, source, folder, loaded, new, found))
    done = Adapted(
        source=str(source),
        tokens_before=old.vocab_size,
        tokens_after=size,
        kept=found.kept,
        made=found.made,
        unknown=found.unknown,
        bytes_before=_weight(source),
        bytes_after=_weight(out),
        known_before=None if counts is None else counts.known(old, counts),
        known_after=None if after is None else after.known(new, counts if vocab is None else after),
    )
    write_json(out / MARK, {**asdict(done), "source": source.name})
    return done


def _check_out(out: Path, source: Path, *, overwrite: bool) -> None:
    if out.resolve() == source.resolve():
        raise BraidError(f"--out {out} is the model that is read: choose another name")
    if out.exists() and not overwrite:
        raise BraidError(f"{out} is there already: use --overwrite to replace it, or another --out")
    if out.exists() and not (out / MARK).is_file():
        raise BraidError(f"{out} is not replaced: `braid vocab adapt` did not make it (it has no {MARK})")


def _count(tokenizer: Tokenizer, files: Sequence[str], columns: Sequence[str], *, characters: bool) -> Counts:
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    kept: list[str] = []
    batch: list[str] = []
    done = 0

    def add() -> None:
        for row in tokenizer.encode_ids(batch):
            np.add.at(counts, row, 1)
        kept.extend(batch[: CHECKED - len(kept)])
        batch.clear()

    with counting() as told:
        for named in [{"text": column} for column in columns] or [{}]:
            for document in Documents(text_sources(files), named):
                for piece in (piece for line in document.split("\n") for piece in pieces(line)):
                    batch += [piece, " ".join(piece)] if characters else [piece]
                done += 1
                if len(batch) >= BATCH:
                    add()
                    told(f"reading: {done:,} documents", done, None)
    add()
    if not counts.any():
        raise BraidError("there is no text in the corpus")
    return Counts(counts, kept)


def _check_same(old: Tokenizer, made: Shrunk, lines: Sequence[str]) -> None:
    if (text := unchanged(old, made.tokenizer, lines, made.kept)) is not None:
        raise BraidError(
            f"this tokenizer cannot be shrunk: with fewer tokens it cuts {text[:60]!r} in another way, though all "
            "of its tokens were kept"
        )


def _new_tokenizer(path: Path, old: Tokenizer) -> Tokenizer:
    """The tokenizer to have; a plain list of tokens is read as the old one is: as pieces, words or characters."""
    place = directory_of(path)
    if place.is_dir():
        inner = place / "encoder"
        return tokenizer_from_vocab(inner if (inner / "tokenizer.json").is_file() else place)
    settings = old.rust.to_str()
    if type(old.rust.model).__name__ == "WordPiece":
        kind = "wordpiece"
    else:
        kind = "character" if '"[\\\\s\\\\S]"' in settings else "word"
    return tokenizer_from_vocab(place, lowercase='"lowercase":true' in settings, kind=kind)  # type: ignore[arg-type]


def _check_padding(loaded: LoadedModel, new: Tokenizer, folder: Path) -> None:
    """RoBERTa's positions begin behind the padding's id. Raises BraidError where that would move them."""
    if read_config(folder).get("model_type") in POSITIONS_AFTER_PADDING and new.pad_id != loaded.tokenizer.pad_id:
        raise BraidError(
            f"{folder}: the positions of this model begin behind the id of its padding, {loaded.tokenizer.pad_id}; "
            f"in the new vocabulary padding has the id {new.pad_id}, so every position would be another"
        )


def _write(there: Path, source: Path, folder: Path, loaded: LoadedModel, new: Tokenizer, found: Origins) -> None:
    inner = there / "encoder" if is_run(source) else there
    inner.mkdir(exist_ok=True)
    _write_encoder(inner, folder, loaded, new, found.rows)
    if not is_run(source):
        load_any(there)
        return
    sha256 = file_sha256(inner / "model.safetensors")
    for name, head in loaded.network.heads():
        task = there / "tasks" / name
        task.mkdir(parents=True)
        spec = loaded.network.specs[name]
        content = read_mapping(source / "tasks" / name / "task.json")
        facts = spec.task.resized(spec.facts, len(found.rows))
        write_json(task / "task.json", {**content, "facts": facts, "encoder_sha256": sha256})
        state = load_tensors(source / "tasks" / name / "head.safetensors")
        rows = head.per_token()
        save_tensors(
            task / "head.safetensors",
            {key: resized(value, found.rows) if key in rows else value for key, value in state.items()},
        )
    for name in ("recipe.yaml", "environment.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, there / name)
    load_any(there)


def _write_encoder(
    there: Path, folder: Path, loaded: LoadedModel, new: Tokenizer, rows: Sequence[Sequence[int]]
) -> None:
    """config.json, weights and tokenizer of the encoder, and whatever else stands beside them."""
    checkpoint, config = Checkpoint(folder), read_config(folder)
    tensors = checkpoint.read(list(checkpoint.shapes))
    for name in _per_token(loaded, checkpoint.shapes, config, folder):
        tensors[name] = resized(tensors[name], rows)
    save_tensors(there / "model.safetensors", tensors)
    write_json(there / "config.json", _config(config, loaded.tokenizer, new, len(rows)))
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.endswith(_WEIGHTS) or path.name in _TOKENIZER:
            continue
        if path.is_dir():
            shutil.copytree(path, there / path.name)
        else:
            shutil.copyfile(path, there / path.name)
    new.save(there)


def _per_token(
    loaded: LoadedModel, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], folder: Path
) -> list[str]:
    """The tensors of a checkpoint that have a row for each token. Raises BraidError where that cannot be told."""
    table, size = word_table_name(loaded.network.encoder), loaded.network.encoder.vocab_size
    rows = [name for name, shape in shapes.items() if shape and shape[0] == size]
    known = [name for name in rows if name == table or name.endswith(f".{table}") or name.startswith(_HEADS)]
    others = {value for key, value in config.items() if isinstance(value, int) and key != "vocab_size"}
    if set(rows) == set(known) or size not in others:
        return rows
    unclear = sorted(set(rows) - set(known))
    raise BraidError(
        f"{folder}: {unclear[0]} has {size:,} rows, as many as the vocabulary has tokens, but config.json has other "
        "sizes of as many: which tensors belong to tokens cannot be told"
    )


def _config(config: dict[str, Any], old: Tokenizer, new: Tokenizer, size: int) -> dict[str, Any]:
    """config.json with the new size and ids of special tokens; None for those that the new vocabulary lacks."""
    if "vocab_size" not in config:
        raise BraidError("config.json has no vocab_size: this model's vocabulary cannot be changed")
    ids = new.rust.get_vocab(with_added_tokens=True)
    same = {old.pad_id: new.pad_id, old.cls_id: new.cls_id, old.sep_id: new.sep_id, old.unk_id: new.unk_id}

    def moved(number: Any) -> Any:
        if isinstance(number, list):
            return [moved(one) for one in number]
        if not isinstance(number, int) or isinstance(number, bool):
            return number
        name = old.tokens([number])[0]
        return same.get(number, ids.get(name))

    out = {key: moved(value) if key.endswith("token_id") else value for key, value in config.items()}
    return {**out, "vocab_size": size}


def _weight(directory: Path) -> int:
    """Bytes of a model's weights, without what was saved for going on with its training."""
    folders = [encoder_directory(directory), *(directory / "tasks").glob("*")]
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors"))
