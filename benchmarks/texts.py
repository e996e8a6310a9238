"""The texts of the speed benchmarks: Douban book reviews, or sentences made up on the spot where those are not."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path
from typing import Any

from versus import SHARED

VOCABULARY = SHARED / "uer_models" / "google_zh_vocab.txt"
REVIEWS = SHARED / "douban_book_review" / "train.tsv.gz"


def reviews(n: int) -> list[tuple[str, str]]:
    """Labels and texts of the first *n* reviews."""
    if not REVIEWS.exists():
        draw = random.Random(1)
        words = "这是一本很好看的书我喜欢不值得再读故事人物文字无聊精彩作者翻译"
        return [(str(draw.randrange(2)), "".join(draw.choices(words, k=draw.randint(8, 120)))) for _ in range(n)]
    with gzip.open(REVIEWS, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [(row[0], row[1]) for _, row in zip(range(n), rows, strict=False)]


def vocabulary(folder: Path) -> Path:
    """BERT's Chinese vocabulary (21,128), or as many characters where it is not at hand."""
    if VOCABULARY.exists():
        return VOCABULARY
    path = folder / "vocab.txt"
    special = ["[PAD]", *(f"[unused{k}]" for k in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text(
        "\n".join(special + [chr(0x4E00 + k) for k in range(21128 - len(special))]) + "\n", encoding="utf-8"
    )
    return path


def tokenizer(folder: Path) -> Any:
    """transformers' tokenizer of that vocabulary."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(vocabulary(folder)), do_lower_case=True)


def table(path: Path, rows: list[tuple[str, str]]) -> Path:
    """The same as a file."""
    lines = [f"{label}\t{text}\n" for label, text in rows]
    path.write_text("label\ttext\n" + "".join(lines), encoding="utf-8")
    return path
