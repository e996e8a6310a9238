"""Pre-training speed: masked language modelling on reviews, Braid against transformers' Trainer.

    python benchmarks/pretrain.py [--repeats 3] [--steps 40]

4 layers of 512, vocabulary of 21,128, one text of up to 128 tokens a row, 15% masked, 32 rows a step, AdamW, clip 1.0.
The Trainer with its own collator for masked language models as its example shows it (`run_mlm.py --line_by_line
--pad_to_max_length`, fp32) and tuned (rows of similar length together, bf16 where the machine has it, no dropout on
attention weights so that the fast kernel is used). Real tokens a second, after a warm-up. The limit: the matrix
products alone.

Prints a table and, last, one line of JSON: `vs_tuned`, `vs_default`, `of_limit`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from texts import reviews, tokenizer, vocabulary
from trainer_peer import BATCH, MAX_LENGTH, SIZES, WARMUP, compare
from versus import Found

MASKED = 0.15


def ours(options: argparse.Namespace) -> Found:
    from braid_side import encoder_of, train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "corpus.txt"
        path.write_text("".join(f"{text}\n" for _, text in reviews(options.steps * BATCH)), encoding="utf-8")
        recipe = {
            "encoder": {**encoder_of(SIZES), "vocab": str(vocabulary(folder))},
            "tasks": {"mlm": {"type": "mlm", "fill": "text", "rate": MASKED, "data": {"train": str(path)}}},
            "chain": "mlm",
        }
        return train(recipe, warmup=WARMUP)


def trainer(options: argparse.Namespace, *, tuned: bool) -> Found:
    from trainer_peer import bert_config, train
    from transformers import BertForMaskedLM, DataCollatorForLanguageModeling

    with tempfile.TemporaryDirectory() as name:
        split = tokenizer(Path(name))
    texts = [text for _, text in reviews(options.steps * BATCH)]
    padding: Any = False if tuned else "max_length"
    found = split(texts, truncation=True, max_length=MAX_LENGTH, padding=padding, return_special_tokens_mask=True)
    given = [{key: found[key][k] for key in found} for k in range(len(texts))]
    model = BertForMaskedLM(bert_config(SIZES, tuned=tuned))
    return train(
        model, given, DataCollatorForLanguageModeling(split, mlm_probability=MASKED), tuned=tuned, warmup=WARMUP
    )


if __name__ == "__main__":
    compare(__doc__, ours, trainer, steps=40, predicted=lambda lengths: int(MASKED * (sum(lengths) - 2 * len(lengths))))
