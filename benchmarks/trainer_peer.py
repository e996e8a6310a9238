"""transformers' Trainer, as its examples show it and tuned: the peer of the training benchmarks."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from matmul import Sizes, peak
from texts import reviews, tokenizer
from versus import Found, contest, rate, ratio

from braid.model.precision import fast_bfloat16

MAX_LENGTH = 128
BATCH = 32
WARMUP = 20
SIZES = Sizes()
RATIOS = {"vs_tuned": "tuned Trainer", "vs_default": "Trainer", "of_limit": "limit"}


class Peer(Protocol):
    """A turn of the Trainer."""

    def __call__(self, options: argparse.Namespace, *, tuned: bool) -> Found: ...


def compare(
    doc: str | None,
    ours: Callable[[argparse.Namespace], Found],
    trainer: Peer,
    *,
    steps: int,
    predicted: Callable[[Sequence[int]], int] = lambda lengths: 0,
) -> None:
    """The main program of a training benchmark. *predicted*: of how many tokens of rows of these lengths the logits
    over the vocabulary are computed."""

    def limit(options: argparse.Namespace) -> Found:
        with tempfile.TemporaryDirectory() as name:
            split = tokenizer(Path(name))
        found = split([text for _, text in reviews(options.steps * BATCH)], truncation=True, max_length=MAX_LENGTH)
        lengths = [len(ids) for ids in found["input_ids"]]
        tokens = sum(lengths)
        speed = peak(SIZES, tokens // options.steps, fastest(), backward=True)
        work = 3 * SIZES.flops(lengths, predicted=predicted(lengths))
        return {"rate": speed * tokens / work, "gigaflops": speed / 1e9, "tokens": tokens}

    def report(turns: dict[str, list[Found]]) -> Found:
        if "braid" not in turns:
            return {}
        found = {name: ratio(turns, "braid", side) for name, side in RATIOS.items() if side in turns}
        return {**found, "tokens_per_second": round(rate(turns["braid"]))}

    contest(
        {
            "braid": ours,
            "tuned Trainer": lambda options: trainer(options, tuned=True),
            "Trainer": lambda options: trainer(options, tuned=False),
            "limit": limit,
        },
        doc=doc,
        unit="real tokens/s",
        report=report,
        arguments=lambda parser: parser.add_argument("--steps", type=int, default=steps),
    )


def fastest() -> torch.dtype:
    """What this machine multiplies matrices in."""
    return torch.bfloat16 if fast_bfloat16(torch.device("cpu")) else torch.float32


def bert_config(sizes: Sizes, *, tuned: bool, labels: int = 2) -> Any:
    """The same encoder; *tuned*: without dropout on attention weights, which the fast attention kernel lacks."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        max_position_embeddings=MAX_LENGTH,
        num_labels=labels,
        **({"attention_probs_dropout_prob": 0.0} if tuned else {}),
    )


def train(
    model: Any,
    rows: Sequence[dict[str, Any]],
    collate: Callable[[Any], Any],
    *,
    tuned: bool,
    warmup: int,
    seed: int = 1,
    lr: float = 1e-4,
    epochs: int = 1,
) -> Found:
    """Real tokens a second of the steps after *warmup* ones. *tuned*: rows of similar length together, bf16 where the
    machine has it."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    counted: list[tuple[float, int]] = []
    losses: list[float] = []

    class Counting(Trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
            tokens = int(inputs["attention_mask"].sum())
            loss = super().training_step(model, inputs, *given, **more)
            losses.append(float(loss))
            counted.append((time.perf_counter(), tokens))
            return loss

    cuda = torch.cuda.is_available()
    half = tuned and fast_bfloat16(torch.device("cuda" if cuda else "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=epochs,
            learning_rate=lr,
            max_grad_norm=1.0,
            weight_decay=0.01,
            bf16=half,
            use_cpu=not cuda,
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            train_sampling_strategy="group_by_length" if tuned else "random",
        )
        trainer = Counting(
            model=model, args=arguments, train_dataset=Dataset.from_list(list(rows)), data_collator=collate
        )
        trainer.train()
        end = time.perf_counter()
    (start, _), rest = counted[warmup - 1], counted[warmup:]
    return {
        "rate": sum(tokens for _, tokens in rest) / (end - start),
        "tokens": sum(tokens for _, tokens in counted),
        "loss": sum(losses[-10:]) / len(losses[-10:]),
        "bf16": half,
    }
