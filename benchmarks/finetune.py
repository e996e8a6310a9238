"""Fine-tuning speed: sequence classification of reviews, Braid against transformers' Trainer.

    python benchmarks/finetune.py [--repeats 3] [--steps 60]

4 layers of 512, vocabulary of 21,128, texts up to 128 tokens, 32 rows a step, AdamW, clip 1.0. The Trainer as its
example shows it (`run_glue.py`: padded to the longest text that is allowed, fp32) and tuned (rows of similar length
together, bf16 where the machine has it, no dropout on attention weights so that the fast kernel is used). Real tokens a
second, after a warm-up. The limit: the matrix products alone.

Prints a table and, last, one line of JSON: `vs_tuned`, `vs_default`, `of_limit`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from texts import reviews, table, tokenizer, vocabulary
from trainer_peer import BATCH, MAX_LENGTH, SIZES, WARMUP, compare
from versus import Found


def ours(options: argparse.Namespace) -> Found:
    from braid_side import encoder_of, train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = table(folder / "train.tsv", reviews(options.steps * BATCH))
        recipe = {
            "encoder": {**encoder_of(SIZES), "vocab": str(vocabulary(folder))},
            "tasks": {"sentiment": {"type": "classification", "data": {"train": str(path)}}},
            "chain": "sentiment",
        }
        return train(recipe, warmup=WARMUP)


def trainer(options: argparse.Namespace, *, tuned: bool) -> Found:
    from trainer_peer import bert_config, train
    from transformers import BertForSequenceClassification, DataCollatorWithPadding, default_data_collator

    rows = reviews(options.steps * BATCH)
    with tempfile.TemporaryDirectory() as name:
        split = tokenizer(Path(name))
    padding: Any = False if tuned else "max_length"
    found = split([text for _, text in rows], truncation=True, max_length=MAX_LENGTH, padding=padding)
    given = [{**{key: found[key][k] for key in found}, "labels": int(label)} for k, (label, _) in enumerate(rows)]
    model = BertForSequenceClassification(bert_config(SIZES, tuned=tuned))
    return train(
        model, given, DataCollatorWithPadding(split) if tuned else default_data_collator, tuned=tuned, warmup=WARMUP
    )


if __name__ == "__main__":
    compare(__doc__, ours, trainer, steps=60)
