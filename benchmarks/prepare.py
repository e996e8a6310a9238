"""Corpus preparation: tokens a second of one core, against the bare tokenizer and against `datasets.map`.

The same text (Chinese Wikipedia and English books, where they are; else text made on the spot), the same WordPiece
vocabulary, one process each, interleaved; medians.

    python benchmarks/prepare.py [--megabytes 8] [--repeats 3] [--memory MEGABYTES]

Prints a table and, last, one line of JSON: `vs_tokenizers` (encode_batch of the same documents), `vs_datasets`. With
`--memory` a corpus of that size is prepared too, and the peak memory of this process and its workers over the start is
measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console
from rich.table import Table

from braid.config.families import SourceConfig
from braid.data.corpus.documents import Documents
from braid.data.corpus.prepare import prepare_corpus
from braid.data.sources.base import Source
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def source(path: Path, **options: str) -> Source:
    """A source of a file."""
    found = SourceConfig.choose({"path": str(path), **options})
    assert isinstance(found, Source)
    return found


def texts() -> Iterator[str]:
    """Documents without an end."""
    wiki = sorted((DATA / "zh_wiki").glob("*.gz"))
    books = sorted((DATA / "en_books").glob("*.gz"))
    if not wiki:
        while True:
            yield "Some words of a sentence that was made up on the spot. 這是一個句子。這也是一個句子。" * 20
    while True:
        for one, other in zip(wiki, books, strict=False):
            yield from Documents([source(one, type="wiki")])
            yield from Documents([source(other, type="lines")])


def corpus(path: Path, megabytes: float) -> int:
    """Write a corpus of about that size, a document a line; its characters."""
    size = characters = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts():
            line = " ".join(text.split()) + "\n"
            file.write(line)
            size += len(line.encode())
            characters += len(line)
            if size > megabytes * 1e6:
                return characters
    raise AssertionError


def ours(path: Path, tokenizer: Tokenizer, folder: Path) -> int:
    """Tokens that our preparation writes, in one process."""
    return int(prepare_corpus([source(path)], {}, tokenizer, folder, workers=1)["tokens"])


def bare(path: Path, tokenizer: Tokenizer, folder: Path) -> int:
    """Tokens of the tokenizer alone, which keeps nothing."""
    tokens = 0
    with path.open(encoding="utf-8") as file:
        batch: list[str] = []
        for line in file:
            batch.append(line.rstrip("\n"))
            if len(batch) == 1000:
                tokens += sum(map(len, tokenizer.rust.encode_batch(batch, add_special_tokens=False)))
                batch = []
        return tokens + sum(map(len, tokenizer.rust.encode_batch(batch, add_special_tokens=False)))


def datasets_map(path: Path, tokenizer: Tokenizer, folder: Path) -> int:
    """Tokens that `datasets.map` writes with transformers' fast tokenizer, as its documentation shows."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer.save(folder / "tokenizer")
    fast = AutoTokenizer.from_pretrained(str(folder / "tokenizer"))
    data = datasets.load_dataset("text", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    began = time.perf_counter()
    found = data.map(
        lambda rows: {"input_ids": fast(rows["text"], add_special_tokens=False)["input_ids"]},
        batched=True,
        remove_columns=["text"],
    )
    datasets_map.seconds = time.perf_counter() - began  # type: ignore[attr-defined]
    return sum(map(len, found["input_ids"]))


SIDES: dict[str, Callable[[Path, Tokenizer, Path], int]] = {
    "braid": ours,
    "tokenizers.encode_batch": bare,
    "datasets.map": datasets_map,
}


def held() -> float:
    """Memory, in MB, that this process and its children hold now; what they share is counted for each."""
    pids = [os.getpid()]
    for task in Path("/proc/self/task").iterdir():
        pids += [int(pid) for pid in (task / "children").read_text().split()]
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
    return total


def memory(megabytes: int, tokenizer: Tokenizer, folder: Path) -> dict[str, float]:
    """Most memory over the start that this process and its two workers held while a corpus of that size was
    prepared."""
    path = folder / "large.txt"
    corpus(path, megabytes)
    before, most, done = held(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            most[0] = max(most[0], held())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    made = prepare_corpus([source(path)], {}, tokenizer, folder / "large", workers=2)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    path.unlink()
    return {
        "corpus_megabytes": megabytes,
        "memory_over_start_megabytes": round(most[0] - before),
        "tokens": made["tokens"],
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus(folder / "corpus.txt", options.megabytes)
        with (folder / "corpus.txt").open(encoding="utf-8") as file:
            sample = [line for _, line in zip(range(2000), file, strict=False)]
        tokenizer = train("wordpiece", lambda: sample, size=21128, lowercase=True)
        large = memory(options.memory, tokenizer, folder) if options.memory else {}
        speeds: dict[str, list[float]] = {side: [] for side in SIDES}
        for repeat in range(options.repeats):
            for side, run in SIDES.items():
                place = folder / f"{side}-{repeat}"
                place.mkdir()
                began = time.perf_counter()
                tokens = run(folder / "corpus.txt", tokenizer, place / "shards" if side == "braid" else place)
                seconds = time.perf_counter() - began
                # Reading the text into its own format is no part of what `datasets` is compared in.
                seconds = getattr(datasets_map, "seconds", seconds) if side == "datasets.map" else seconds
                speeds[side].append(tokens / seconds)
                print(f"{side}: {tokens / seconds:,.0f} tokens/s", file=sys.stderr, flush=True)
        median = {side: statistics.median(found) for side, found in speeds.items()}
        table = Table("", "tokens/s, one core", "spread", title=f"preparing {options.megabytes:g} MB of text")
        for side, found in speeds.items():
            table.add_row(side, f"{median[side]:,.0f}", f"{min(found):,.0f} to {max(found):,.0f}")
        Console().print(table)
        summary = {
            "vs_tokenizers": round(median["braid"] / median["tokenizers.encode_batch"], 2),
            "vs_datasets": round(median["braid"] / median["datasets.map"], 2),
        }
        print(json.dumps(summary | large), flush=True)


if __name__ == "__main__":
    main()
