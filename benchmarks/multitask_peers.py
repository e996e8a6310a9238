"""The peers of `multitask.py`: a tuned `Trainer` run for each task, and the loop that alternates batches of tasks.

Both: the same weights, AdamW (fused) with a higher rate for heads, rows of similar length together, padded to the
longest of their batch, bf16 where the machine has it, no dropout on attention weights so that the fast kernel is used.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multitask_data import JOBS, MAX_LENGTH, MINILM, SETS, Job, rows_of, score, set_of
from torch import Tensor, nn

from braid.encoders.pretrained import locate
from braid.model.precision import fast_bfloat16

BATCH = 32
EVAL_BATCH = 64
IGNORED = -100


@dataclass(frozen=True)
class Settings:
    """What all sides have in common."""

    folder: Path
    epochs: int
    lr: float
    head_lr: float
    seed: int


@dataclass(frozen=True)
class Split:
    """A task's rows: what a tokenizer made of them, with numbers for labels."""

    rows: list[dict[str, Any]]
    gold: list[Any]
    labels: list[str]


class Clock:
    """Seconds since it was made: of the wall, and of the CPU in all threads."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._began[0], "cpu": time.process_time() - self._began[1]}


def imported() -> None:
    """Import what takes long, before the clock starts."""
    import datasets  # noqa: F401
    from transformers import BertForSequenceClassification, BertForTokenClassification, BertModel, Trainer  # noqa: F401


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half() -> Any:
    """bf16 where that is fast."""
    where = device()
    return torch.autocast(where.type, dtype=torch.bfloat16) if fast_bfloat16(where) else nullcontext()


def tokenizer_of() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(locate(MINILM)))


def splits(folder: Path, job: Job, tokenizer: Any) -> tuple[Split, Split]:
    """Training and dev rows of one task. A dev label that training lacks counts as an error, and is not trained on."""
    name = set_of(job)
    train, dev = rows_of(folder, name, "train"), rows_of(folder, name, "dev")
    found = [row[job.name] for row in train]
    labels = sorted({tag for tags in found for tag in tags} if job.type == "tagging" else set(map(str, found)))
    labels = [] if job.type == "regression" else labels
    return _split(train, job, tokenizer, labels), _split(dev, job, tokenizer, labels)


def _split(rows: Sequence[Mapping[str, Any]], job: Job, tokenizer: Any, labels: list[str]) -> Split:
    number = {label: k for k, label in enumerate(labels)}
    gold = [row[job.name] for row in rows]
    if "words" in rows[0]:
        given: dict[str, Any] = {"text": [row["words"] for row in rows], "is_split_into_words": True}
    else:
        given = {"text": [row["text"] for row in rows], "text_pair": [row["pair"] for row in rows]}
    found = tokenizer(**given, truncation=True, max_length=MAX_LENGTH)
    out = []
    for k, label in enumerate(gold):
        row = {key: found[key][k] for key in found}
        if job.type == "tagging":
            words = found.word_ids(k)
            first = [word is not None and (place == 0 or words[place - 1] != word) for place, word in enumerate(words)]
            row["labels"] = [
                number.get(label[word], IGNORED) if is_first else IGNORED
                for word, is_first in zip(words, first, strict=True)
            ]
            row["read"] = [place for place, is_first in enumerate(first) if is_first]
        else:
            row["labels"] = float(label) if job.type == "regression" else number.get(str(label), IGNORED)
        out.append(row)
    return Split(out, gold, labels)


def decoded(job: Job, split: Split, logits: Sequence[np.ndarray]) -> list[Any]:
    """Predictions from each row's logits; a word beyond the window is outside of everything."""
    if job.type == "regression":
        return [float(values.reshape(-1)[0]) for values in logits]
    if job.type == "classification":
        return [split.labels[int(values.argmax())] for values in logits]
    outside = "O" if "O" in split.labels else split.labels[0]
    out = []
    for row, values, gold in zip(split.rows, logits, split.gold, strict=True):
        tags = [split.labels[k] for k in values[row["read"]].argmax(-1)]
        out.append(tags + [outside] * (len(gold) - len(tags)))
    return out


def optimizer_of(model: nn.Module, settings: Settings, steps: int) -> tuple[Any, Any]:
    """AdamW and its schedule. Heads are what does not stand in `bert.`; biases and norms have no decay."""
    from transformers import get_linear_schedule_with_warmup

    groups = []
    for head, lr in ((False, settings.lr), (True, settings.head_lr)):
        for matrix, decay in ((True, 0.01), (False, 0.0)):
            found = [
                parameter
                for name, parameter in model.named_parameters()
                if (not name.startswith("bert.")) == head and (parameter.ndim > 1) == matrix
            ]
            groups.append({"params": found, "lr": lr, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, fused=True)
    return optimizer, get_linear_schedule_with_warmup(optimizer, -(-steps // 10), steps)


def single(settings: Settings, jobs: Sequence[Job] = JOBS) -> dict[str, Any]:
    """Seconds and scores of a `Trainer` run for each task, one after another. What is imported once is not counted."""
    imported()
    clock = Clock()
    scores = {job.name: _trainer(settings, job) for job in jobs}
    return {**clock.spent(), "scores": scores}


def _trainer(settings: Settings, job: Job) -> float:
    from datasets import Dataset
    from transformers import (
        BertForSequenceClassification,
        BertForTokenClassification,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(settings.seed)
    tokenizer = tokenizer_of()
    train, dev = splits(settings.folder, job, tokenizer)
    tagging = job.type == "tagging"
    classes: Any = BertForTokenClassification if tagging else BertForSequenceClassification
    kind = {"problem_type": "regression"} if job.type == "regression" else {}
    model = classes.from_pretrained(
        str(locate(MINILM)), num_labels=len(train.labels) or 1, attention_probs_dropout_prob=0.0, **kind
    )
    collate: Any = DataCollatorForTokenClassification if tagging else DataCollatorWithPadding
    steps = -(-len(train.rows) // BATCH) * settings.epochs
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=EVAL_BATCH,
                max_grad_norm=1.0,
                bf16=fast_bfloat16(device()),
                use_cpu=device().type == "cpu",
                seed=settings.seed,
                train_sampling_strategy="group_by_length",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([_plain(row) for row in train.rows]),
            data_collator=collate(tokenizer),
            optimizers=optimizer_of(model, settings, steps),
        )
        trainer.train()
        trainer.save_model()
        order = _by_length(dev.rows)
        trainer.args.train_sampling_strategy = "random"  # which would put the rows of a prediction in another order
        found = trainer.predict(Dataset.from_list([_plain(dev.rows[k]) for k in order])).predictions
    logits: list[Any] = [None] * len(order)
    for k, values in zip(order, found, strict=True):
        logits[k] = values
    return score(job, decoded(job, dev, logits), dev.gold)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "read"}


def _by_length(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted(range(len(rows)), key=lambda k: len(rows[k]["input_ids"]))


class Shared(nn.Module):
    """One encoder of transformers and a linear head for each task."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        from transformers import BertModel

        super().__init__()
        self.bert = BertModel.from_pretrained(str(locate(MINILM)), attention_probs_dropout_prob=0.0)
        self.dropout = nn.Dropout(0.1)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(self.bert.config.hidden_size, size) for name, size in sizes.items()}
        )

    def forward(self, jobs: Sequence[Job], inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Logits of the tasks."""
        found = self.bert(**inputs)
        return [
            self.heads[job.name](
                self.dropout(found.last_hidden_state if job.type == "tagging" else found.pooler_output)
            )
            for job in jobs
        ]


def alternating(settings: Settings, *, by_set: bool) -> dict[str, Any]:
    """Seconds and scores of the usual loop: every step is a batch of one task, drawn in proportion to its rows.
    *by_set*: of one set instead, for both tasks of which it counts."""
    from transformers import set_seed

    imported()
    clock = Clock()
    set_seed(settings.seed)
    tokenizer = tokenizer_of()
    data = {job: splits(settings.folder, job, tokenizer) for job in JOBS}
    model = Shared({job.name: len(train.labels) or 1 for job, (train, _) in data.items()}).to(device())
    streams = [list(jobs) for jobs in SETS.values()] if by_set else [[job] for job in JOBS]
    steps = settings.epochs * sum(-(-len(data[jobs[0]][0].rows) // BATCH) for jobs in streams)
    optimizer, schedule = optimizer_of(model, settings, steps)
    model.train()
    draw = random.Random(settings.seed)
    for _ in range(settings.epochs):
        turns = [(jobs, pick) for jobs in streams for pick in _grouped(data[jobs[0]][0].rows)]
        draw.shuffle(turns)
        for jobs, pick in turns:
            with half():
                logits = model(jobs, _inputs(tokenizer, [data[jobs[0]][0].rows[k] for k in pick]))
            losses = [
                _loss(job, values.float(), [data[job][0].rows[k]["labels"] for k in pick])
                for job, values in zip(jobs, logits, strict=True)
            ]
            torch.stack(losses).mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    scores = _evaluated(model, tokenizer, streams, {job: dev for job, (_, dev) in data.items()})
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import save_file

        model.bert.save_pretrained(folder)
        save_file(model.heads.state_dict(), f"{folder}/heads.safetensors")
    return {**clock.spent(), "scores": scores}


def _grouped(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[int]]:
    """Batches of rows of similar length, as `Trainer` makes them."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    order = list(LengthGroupedSampler(BATCH, lengths=[len(row["input_ids"]) for row in rows]))
    yield from (order[at : at + BATCH] for at in range(0, len(order), BATCH))


def _inputs(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    given = [{key: value for key, value in row.items() if key not in ("labels", "read")} for row in rows]
    return {key: value.to(device()) for key, value in tokenizer.pad(given, return_tensors="pt").items()}


def _loss(job: Job, logits: Tensor, labels: Sequence[Any]) -> Tensor:
    """The mean loss of a batch."""
    if job.type == "regression":
        return nn.functional.mse_loss(logits.squeeze(-1), torch.tensor(labels, device=logits.device))
    if job.type == "classification":
        return nn.functional.cross_entropy(logits, torch.tensor(labels, device=logits.device), ignore_index=IGNORED)
    wide = logits.shape[1]
    padded = torch.tensor([[*row, *[IGNORED] * (wide - len(row))] for row in labels], device=logits.device)
    return nn.functional.cross_entropy(logits.flatten(0, 1), padded.flatten(), ignore_index=IGNORED)


def _evaluated(
    model: Shared, tokenizer: Any, streams: Sequence[Sequence[Job]], dev: Mapping[Job, Split]
) -> dict[str, float]:
    """Scores of all tasks, rows sorted by length."""
    model.eval()
    out = {}
    for jobs in streams:
        rows = dev[jobs[0]].rows
        found: dict[Job, list[Any]] = {job: [None] * len(rows) for job in jobs}
        order = _by_length(rows)
        for at in range(0, len(order), EVAL_BATCH):
            pick = order[at : at + EVAL_BATCH]
            with torch.inference_mode(), half():
                logits = model(jobs, _inputs(tokenizer, [rows[k] for k in pick]))
            for job, values in zip(jobs, logits, strict=True):
                for k, each in zip(pick, values.float().cpu().numpy(), strict=True):
                    found[job][k] = each
        for job in jobs:
            out[job.name] = score(job, decoded(job, dev[job], found[job]), dev[job].gold)
    return out
