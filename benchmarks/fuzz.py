"""Mangled recipes, data files and run directories: every one must end in a result or a BraidError, within 10 seconds.

    python benchmarks/fuzz.py [--cases 10000] [--seed 1] [--keep DIR]

Each case takes something valid and damages it: bytes flipped, cut out, doubled, lines moved, values replaced by nasty
ones. Prints a table and, last, one line of JSON; what ended otherwise is kept in DIR with its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

import braid
from braid.errors import BraidError
from braid.run.dataset import learn, read_data

LIMIT = 10
NASTY = [
    "", "null", "~", "[]", "{}", "-1", "0", "1e999", ".nan", "999999999999999999999", "true", "'", '"', "\\", "\x00",
    "../../etc/passwd", "/dev/zero", "a" * 5000, "\ud83d\ude00", "\u202e", "\ufeff", "%s%n",
    "!!python/object:os.system x", "&a [*a]", "*x", "<<: *x", "[[[[[[", "{{{{", "\t", "\r", "---", "...", "0x10",
    "1_000", "2020-01-01", "$(id)", "${HOME}",
]  # fmt: skip


VALUES = [None, True, -1, 0, 1, 2**31, 10**30, 1e308, -0.0, "", "x", "../x", "\x00", "9" * 400]
VALUES += [[], {}, [[]], [None], {"a": {}}]


class Hang(BaseException):
    """A case took too long. No Exception, so that nothing swallows it."""


def _ring(number: int, frame: Any) -> None:
    raise Hang


def mangled(content: bytes, chance: random.Random) -> bytes:
    """One to four damages."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        kind = chance.randrange(9)
        at = chance.randrange(len(data) + 1)
        length = min(len(data) - at, chance.choice((1, 2, 4, 16, 100)))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
        elif kind == 3:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        elif kind == 4:
            data[at:at] = chance.choice(NASTY).encode("utf-8", "surrogatepass")
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            lines = bytes(data).split(b"\n")
            one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            data = bytearray(b"\n".join(lines))
        elif kind == 7:
            lines = bytes(data).split(b"\n")
            k = chance.randrange(len(lines))
            head, sep, _tail = lines[k].partition(chance.choice((b":", b"\t", b",", b" ")))
            lines[k] = head + sep + b" " + chance.choice(NASTY).encode("utf-8", "surrogatepass")
            data = bytearray(b"\n".join(lines))
        else:
            lines = bytes(data).split(b"\n")
            k = chance.randrange(len(lines))
            del lines[k]
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def replaced(value: Any, chance: random.Random) -> Any:
    """A JSON value with one of its parts replaced."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: replaced(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        k = chance.randrange(len(value))
        return [*value[:k], replaced(value[k], chance), *value[k + 1 :]]
    return chance.choice(
        [
            None,
            True,
            -1,
            0,
            1,
            2**31,
            10**30,
            1e308,
            -0.0,
            "",
            "x",
            "../x",
            "\x00",
            [],
            {},
            [[]],
            [None],
            {"a": {}},
            "9" * 400,
        ]
    )


def _edited(content: bytes, chance: random.Random) -> bytes | None:
    """JSON, or JSON lines, with a value replaced; None for what is neither."""
    try:
        lines = content.decode().splitlines()
        if len(lines) > 1:
            k = chance.randrange(len(lines))
            lines[k] = json.dumps(replaced(json.loads(lines[k]), chance), ensure_ascii=False)
            return "\n".join(lines).encode()
        return json.dumps(replaced(json.loads(content), chance), ensure_ascii=False).encode()
    except ValueError:
        return None


class Fuzz:
    """Cases of one seed, in a folder of their own."""

    def __init__(self, folder: Path, seed: int, keep: Path | None) -> None:
        self.folder, self.chance, self.keep = folder, random.Random(seed), keep
        self.found: dict[str, Counter[str]] = {}
        self.slowest = 0.0
        self.recipes = list(_recipes(folder))
        self.files = list(_files())
        self.run = _trained(folder)

    def case(self, kind: str, number: int) -> None:
        """One case of a kind."""
        work: Callable[[Path], None] = {"recipe": self._recipe, "data": self._data, "run directory": self._run}[kind]
        folder = self.folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        counts = self.found.setdefault(kind, Counter())
        began = time.monotonic()
        before = signal.signal(signal.SIGALRM, _ring)
        signal.alarm(LIMIT)
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                work(folder)
            counts["results"] += 1
        except BraidError:
            counts["errors"] += 1
        except Hang:
            counts["over 10 s"] += 1
            self._kept(kind, number, folder)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            counts["tracebacks"] += 1
            self._kept(kind, number, folder)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _kept(self, kind: str, number: int, folder: Path) -> None:
        if self.keep is not None:
            to = self.keep / f"{kind.replace(' ', '_')}_{number}"
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(folder, to, symlinks=True)
            (to / "TRACEBACK").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")

    def _recipe(self, folder: Path) -> None:
        content = self.chance.choice(self.recipes)
        path = folder / "recipe.yaml"
        if self.chance.random() < 0.5:
            value = YAML(typ="safe").load(content)
            for _ in range(self.chance.randint(1, 2)):
                value = replaced(value, self.chance)
            path.write_text(json.dumps(value), encoding="utf-8")  # YAML holds JSON
        else:
            path.write_bytes(mangled(content, self.chance))
        recipe = braid.Recipe.load(path)
        recipe.to_yaml()
        recipe.check_files()

    def _data(self, folder: Path) -> None:
        name, content, task = self.chance.choice(self.files)
        path = folder / name
        edited = _edited(content, self.chance) if self.chance.random() < 0.5 else None
        if edited is not None:
            path.write_bytes(edited)
        elif name.endswith(".gz") and self.chance.random() < 0.7:
            path.write_bytes(gzip.compress(mangled(gzip.decompress(content), self.chance)))
        else:
            path.write_bytes(mangled(content, self.chance))
        data = {"train": str(path), **task.get("data", {})}
        tasks = {"t": {**{key: value for key, value in task.items() if key != "data"}, "data": data}}
        recipe = braid.Recipe(
            encoder={"type": "bert", "shape": "tiny"}, tasks=tasks, chain="t", out=str(folder / "out")
        )
        learn(recipe, read_data(recipe))

    def _run(self, folder: Path) -> None:
        run = folder / "run"
        shutil.copytree(self.run, run)
        files = sorted(path for path in run.rglob("*") if path.is_file())
        path = self.chance.choice(files)
        content = path.read_bytes()
        how = self.chance.random()
        if path.suffix == ".json" and how < 0.6:
            value = json.loads(content)
            for _ in range(self.chance.randint(1, 3)):
                value = replaced(value, self.chance)
            path.write_text(json.dumps(value), encoding="utf-8")
        elif how < 0.65:
            path.unlink()
        elif how < 0.7:
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(mangled(content, self.chance))
        model = braid.load(str(run), force=True)
        for result in model(["We ate in Kyoto.", ""]):
            json.dumps(result.to_json())


def _recipes(folder: Path) -> Iterator[bytes]:
    """Valid recipes: those of the project, and what a run writes with every default filled in."""
    root = Path(__file__).resolve().parents[1]
    found = [*sorted((root / "recipes").rglob("*.yaml")), root / "src/braid/tools/demo.yaml"]
    for path in found:
        yield path.read_bytes()
        with contextlib.suppress(BraidError):
            yield braid.Recipe.load(path).to_yaml().encode()


def _files() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Valid data files of every format: name, content, and the task that reads them."""
    label = {"type": "classification"}
    texts = ["good food", "bad, bad service", "我们去了北京。", "so so"]
    rows = [{"text": text, "label": name} for text, name in zip(texts, "abab", strict=True)]
    tsv = "text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in rows)
    yield "a.tsv", tsv.encode(), label
    yield "a.tsv.gz", gzip.compress(tsv.encode()), label
    yield "a.csv", ("text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows)).encode(), label
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    yield "a.jsonl", lines.encode(), label
    yield "a.json", json.dumps(rows).encode(), label
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    yield "a.parquet", sink.getvalue(), label
    tags = "We O\nate O\nin O\nKyoto B-LOC\n. O\n\nTom B-PER\nslept O\n"
    yield "a.conll", tags.encode(), {"type": "tagging"}
    yield "a.bio", tags.replace(" ", "\t").encode(), {"type": "tagging"}
    tree = "".join(
        f"{k}\t{word}\t{word}\t{pos}\t_\t_\t{head}\t{relation}\t_\t_\n"
        for k, word, pos, head, relation in [(1, "We", "PRON", 2, "nsubj"), (2, "ate", "VERB", 0, "root")]
    )
    heads, upos = ({"words": "words", "text": "text", "label": name} for name in ("dependencies", "upos"))
    yield "a.conllu", (f"# text = We ate\n{tree}\n" * 2).encode(), {"type": "dependency", "data": {"columns": heads}}
    yield "a.conllu", (f"# text = We ate\n{tree}\n" * 2).encode(), {"type": "tagging", "data": {"columns": upos}}
    yield "a.txt", "我们 去 了 北京 。\n今天 好\n".encode(), {"type": "tagging", "data": {"source": "segmented"}}
    squad = {
        "version": "1.1",
        "data": [
            {"title": "t", "paragraphs": [{"context": "Tom slept in Kyoto.", "qas": [
                {"id": "1", "question": "Where?", "answers": [{"text": "Kyoto", "answer_start": 13}]},
                {"id": "2", "question": "Who?", "answers": [{"text": "Tom", "answer_start": 0}]}]}]}
        ],
    }  # fmt: skip
    yield "a.json", json.dumps(squad).encode(), {"type": "span", "data": {"source": "squad"}}
    c3 = [[["a: hi", "b: hello"], [{"question": "q", "choice": ["x", "y"], "answer": "x"}], "1"]]
    yield "a.json", json.dumps(c3).encode(), {"type": "multiple_choice", "data": {"source": "c3"}}
    clue = {"text": "Tom slept", "label": {"name": {"Tom": [[0, 2]]}}}
    yield "a.json", (json.dumps(clue) + "\n").encode() * 2, {"type": "tagging", "data": {"source": "cluener"}}
    pairs = "".join(json.dumps({"text": "a b", "pair": "c", "label": k / 2}) + "\n" for k in range(6))
    yield "a.jsonl", pairs.encode(), {"type": "regression"}
    ranked = "".join(
        json.dumps({"text": "q", "pair": f"p{k}", "label": k % 2, "query": str(k // 3)}) + "\n" for k in range(6)
    )
    yield "a.jsonl", ranked.encode(), {"type": "ranking"}
    many = "".join(json.dumps({"text": f"t{k}", "label": ["a", "b"][: k % 3]}) + "\n" for k in range(6))
    yield "a.jsonl", many.encode(), {"type": "multilabel"}


def _trained(folder: Path) -> Path:
    """A small run with heads of several types."""
    rows = [
        {"words": ["We", "ate", "in", place], "ner": ["O", "O", "O", "B-LOC"], "topic": topic, "score": k / 4}
        for k, (place, topic) in enumerate(
            [("Kyoto", "food"), ("Rome", "trip"), ("Oslo", "food"), ("Lima", "trip")] * 4
        )
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"train": str(path), "dev": str(path)}
    recipe = braid.Recipe(
        encoder={"type": "bert", "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 16, "vocab_size": 80},
        tasks={
            "ner": {"type": "tagging", "crf": True, "data": data},
            "topic": {"type": "classification", "data": data},
            "score": {"type": "regression", "data": data},
        },
        chain="ner & topic & score",
        train={"epochs": 1},
        out=str(folder / "trained"),
        cache=None,
    )
    braid.train(recipe, say=lambda message: None)
    return folder / "trained"


KINDS = ("data", "recipe", "data", "recipe", "data", "recipe", "data", "recipe", "data", "run directory")
"""What ten cases are."""


def fuzz(cases: int, seed: int, keep: Path | None, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """`cases` of these kinds, in turn."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = Fuzz(Path(folder), seed, keep)
        for number in range(cases):
            made.case(kinds[number % len(kinds)], number)
    columns = ("results", "errors", "tracebacks", "over 10 s")
    table = Table("what", "cases", *columns)
    for kind, counts in made.found.items():
        table.add_row(kind, str(sum(counts.values())), *(str(counts[column]) for column in columns))
    Console(width=100).print(table)
    total = sum(made.found.values(), Counter[str]())
    return {**{column: total[column] for column in columns}, "slowest_seconds": round(made.slowest, 1)}


def main() -> None:
    """Run them and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--kind", choices=sorted(set(KINDS)), help="only these")
    options = parser.parse_args()
    found = fuzz(options.cases, options.seed, options.keep, [options.kind] if options.kind else KINDS)
    print(json.dumps(found))
    sys.exit(1 if found["tracebacks"] or found["over 10 s"] else 0)


if __name__ == "__main__":
    main()
