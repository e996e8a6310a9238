"""seq2seq: a text or a sequence of tags written for each text or pair (translation, summaries, questions).

Shape legend: T tokens of the batch, R rows, M tokens of those rows, N tokens of their targets, D the encoder's hidden
size, C tokens that can be written, L tokens of the longest target.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from braid.data.batch import Batch, Targets
from braid.data.example import Example, Window
from braid.data.labels import as_strings, inventory
from braid.data.target_vocabulary import (
    Vocabulary,
    given_tokenizer,
    load_vocabulary,
    read_symbols,
    read_text,
    readable_tokenizer,
    train_bpe,
)
from braid.data.tokens import Tokenizer
from braid.errors import BraidError, LabelError, SkippedLabelError
from braid.metrics.generation import GenerationMeter, bleu_tokens, rouge_words
from braid.nn.decoder import Decoder, DecoderShape
from braid.nn.divergence import class_divergence
from braid.nn.generate import Request, Sequences, beam_search, greedy, sampler, write
from braid.nn.segments import select
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Prediction, Target

ENCODER = "encoder"
"""`vocab: encoder`: the encoder's own tokenizer."""

GENERATION_FLOATS = 2**26
"""Numbers (256 MB in fp32) that logits and cached keys and values may take at most while rows are being written."""


@dataclass(frozen=True)
class Generated(Prediction):
    """What was written, and the mean log-probability of its tokens, the end symbol included."""

    text: str
    score: float


class Seq2Seq(LabelledTask):
    """A text, or a sequence of tags, written for each text or pair by a transformer decoder."""

    type: Literal["seq2seq"] = "seq2seq"
    hub_task: ClassVar[str] = "text-generation"
    main_metric: ClassVar[str] = "bleu"
    comparable: ClassVar[bool] = True

    target: Literal["text", "tags"] = "text"
    """`text`: any string. `tags`: a sequence of symbols from an inventory, as a string with spaces or as a list."""

    vocab: str | None = None
    """For `text`: the vocabulary of the targets, `encoder` for the encoder's own, or a tokenizer.json, a vocab.txt or a
    directory with a tokenizer. Predictions have what its decoder restores: a vocab.txt loses case and some spaces.
    None: a byte-level BPE that restores every string is trained on the training targets; no token of it has
    two Chinese characters. The decoder has its own embeddings in any case."""

    vocab_size: int = Field(default=8000, ge=300)
    """For `text` without `vocab`: most tokens that the trained vocabulary may have."""

    labels: list[str] | None = None
    """For `tags`: all symbols, in their order. None: those of the training data, sorted."""

    layers: int = Field(default=2, ge=1)
    """Layers of the decoder."""

    hidden_size: int | None = Field(default=None, ge=2)
    """Size of the decoder. None: the encoder's."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads. None: one for each 64 of the decoder's size, or fewer where that does not divide it."""

    intermediate_size: int | None = Field(default=None, ge=1)
    """Size of the feed-forward layers. None: four times the decoder's."""

    tied_embeddings: bool = True
    """Whether the decoder's output layer is its input embedding (Press & Wolf 2017, arXiv 1608.05859)."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout in the decoder, on embeddings and on what each layer adds."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target that is spread over all tokens (Szegedy et al. 2016). The loss is the divergence from the
    smoothed target, so that it can fall to 0 still; its gradient is cross-entropy's."""

    max_target_length: int = Field(default=64, ge=2)
    """Longest target in tokens, the end symbol included. Longer ones are cut; generation stops there."""

    beam: int = Field(default=4, ge=1)
    """Beams of the search for the best target. 1: greedy."""

    length_penalty: float = Field(default=0.6, ge=0)
    """How much longer targets are favoured: log-probabilities are divided by ((5 + length) / 6) ** this (Wu et al.
    2016, arXiv 1609.08144). 0: not at all."""

    sample: bool = False
    """Draw targets at random instead of searching the best; `beam` and `length_penalty` mean nothing then."""

    temperature: float = Field(default=1.0, gt=0)
    """For `sample`: logits are divided by this."""

    top_k: int | None = Field(default=None, ge=1)
    """For `sample`: only this many most probable tokens. None: all."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """For `sample`: only the fewest tokens whose probabilities reach this."""

    seed: int = Field(default=1, ge=0)
    """For `sample`: with one seed the same input always gets the same draw, whatever stands beside it in the batch."""

    tokenize: Literal["auto", "13a", "zh", "char", "none"] = "auto"
    """How BLEU cuts texts into words, by sacrebleu's names. `auto`: `none` for tags; `zh` where most training targets
    have Chinese characters; else `13a`."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_strings(cls, value: Any) -> Any:
        return as_strings(value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.labels is not None and self.target == "text":
            raise ValueError("`labels` names the symbols of `target: tags`; a text has none")
        if self.vocab is not None and self.target == "tags":
            raise ValueError("`vocab` is for `target: text`; symbols of tags are named by `labels`")
        if self.hidden_size is not None and self.hidden_size % (self.heads or 1):
            raise ValueError(f"hidden_size {self.hidden_size} cannot be divided into {self.heads} heads")
        return self

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`labels` (tags) or `tokenizer` (text, a tokenizer.json as a string): the vocabulary; `tokenize`: how BLEU
        cuts words; `short`: whether most targets have less than four words, of which BLEU would always be 0.

        Raises LabelError where no target can be read, or a symbol is missing in `labels:`."""
        targets = [found for label in labels if (found := self._readable(label)) is not None]
        if not targets:
            raise LabelError("no training row has a target that can be read; expected a string that is not empty")
        texts = [" ".join(target) if isinstance(target, list) else target for target in targets]
        auto = "none" if self.target == "tags" else bleu_tokens(texts)
        facts: Facts = {"tokenize": auto if self.tokenize == "auto" else self.tokenize}
        short = [len(text.split() if auto == "none" else rouge_words(text)) < 4 for text in texts]
        facts["short"] = 2 * sum(short) > len(short)
        if self.target == "tags":
            facts["labels"] = inventory({symbol for target in targets for symbol in target}, self.labels)
        elif self.vocab == ENCODER:
            facts["tokenizer"] = None
        elif self.vocab is not None:
            facts["tokenizer"] = given_tokenizer(Path(self.vocab))
        else:
            facts["tokenizer"] = train_bpe(texts, size=self.vocab_size)
        return facts

    def label_texts(self, label: Any) -> list[str]:
        """The target, where the encoder's vocabulary is to spell it."""
        target = self._readable(label) if self.vocab == ENCODER else None
        return [target] if isinstance(target, str) else []

    def with_tokenizer(self, facts: Facts, tokenizer: Tokenizer) -> Facts:
        """With the encoder's tokenizer, where the recipe asks for it."""
        return {**facts, "tokenizer": readable_tokenizer(tokenizer.rust)} if self.vocab == ENCODER else facts

    def _readable(self, label: Any) -> str | list[str] | None:
        """A label as `encode` reads it; None where that would raise, with the row's place."""
        try:
            return self._read(label)
        except (LabelError, SkippedLabelError):
            return None

    def _read(self, label: Any) -> str | list[str]:
        """A text without the spaces around it, or the symbols of a sequence of tags."""
        return read_symbols(label) if self.target == "tags" else read_text(label)

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`ids` [N]: tokens, then the end symbol where the target is not cut; `source` [1]: tokens of the row, which
        the decoder reads. Only the first window of a text carries them."""
        if window.number:
            return None
        ids = self._ids(label, facts)[: self.max_target_length]
        return {"ids": np.array(ids, dtype=np.int64), "source": np.array([len(window.ids)], dtype=np.int64)}

    def _ids(self, label: Any, facts: Facts) -> list[int]:
        vocabulary = _vocabulary(facts)
        return [*vocabulary.encode(self._read(label)), vocabulary.size]

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> str:
        """The target as a string, uncut."""
        target = self._read(label)
        return " ".join(target) if isinstance(target, list) else target

    def count(self, target: Target) -> int:
        """Tokens of the target, the end symbol included."""
        return len(target["ids"])

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """The decoder. Raises BraidError where its size cannot be divided into `heads`."""
        return Seq2SeqHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> GenerationMeter:
        """bleu, chrf, rouge_l, exact_match; exact_match first where targets are short."""
        return GenerationMeter(facts["tokenize"], main="exact_match" if facts["short"] else "bleu")

    def best(self, facts: Facts) -> str:
        """BLEU; exact match where most targets are too short for it."""
        return self.metric or ("exact_match" if facts["short"] else "bleu")

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Short reports, to be told the other way round."""
        people, things = ("Anna", "Bo", "Carl", "Dora"), ("apples", "books", "cups")
        places = ("Rome", "Oslo", "Kyoto", "Lima", "Cairo")
        rows = []
        for i in range(n):
            who, what, where = people[i % 4], things[i % 3], places[i % 5]
            rows.append(
                {"text": f"{who} sold {i} {what} in {where}", "label": f"in {where} {i} {what} were sold by {who}"}
            )
        return rows

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """The target's own tokens, each with a log-probability of 0: [N, 2]."""
        return np.stack([target["ids"], np.zeros(len(target["ids"]))], axis=1).astype(np.float32)

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The symbols of tags; of a text how long it is, in tokens."""
        target = self._readable(label)
        if target is None:
            return []
        if isinstance(target, list):
            return target
        if facts is None:
            return ["text"]
        size, longest = len(self._ids(label, facts)), self.max_target_length
        if size > longest:
            return [f"over {longest} tokens (cut)"]
        edge = max(2 ** math.ceil(math.log2(size)), 4)
        return [f"{edge // 2 + 1 if edge > 4 else 2} to {min(edge, longest)} tokens"]

    def check_label(self, label: Any, example: Example, facts: Facts | None = None) -> list[str]:
        """Targets that are cut. Without *facts* a text's words are counted, each of which is a token at least."""
        target = self._readable(label)
        if target is None:
            return []
        if isinstance(target, list) or facts is None:
            size = 1 + len(target if isinstance(target, list) else rouge_words(target))
        else:
            size = len(self._ids(label, facts))
        longest = self.max_target_length
        return [f"a target of {size} tokens is longer than max_target_length {longest}"] if size > longest else []


class Seq2SeqHead(Head):
    """The decoder and its own vocabulary. What it is given as logits are the encoder's states of the rows' tokens."""

    def __init__(self, task: Seq2Seq, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.task = task
        self.vocabulary = _vocabulary(facts)
        self.end = self.vocabulary.size
        size = task.hidden_size or hidden_size
        heads = task.heads or next(n for n in range(max(size // 64, 1), 0, -1) if size % n == 0)
        if size % heads:
            raise BraidError(f"seq2seq: the decoder's size {size} cannot be divided into `heads: {heads}`")
        self.decoder = Decoder(
            DecoderShape(
                vocab_size=self.vocabulary.size + 1,
                hidden_size=size,
                memory_size=hidden_size,
                layers=task.layers,
                heads=heads,
                intermediate_size=task.intermediate_size or 4 * size,
                positions=task.max_target_length,
                tied=task.tied_embeddings,
                dropout=task.dropout,
            )
        )
        self.least_loss = _smoothed_entropy(task.label_smoothing, self.vocabulary.size + 1)
        self.autocast_dtype: torch.dtype | None = None

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """The hidden states [M, D] of the rows' tokens: what the decoder reads, once it knows the targets."""
        kind = hidden.last.device.type
        # The loss is asked for outside of autocast, but the decoder is a network like the encoder.
        self.autocast_dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        index_M, _ = select(hidden.batch.cu_seqlens, rows)
        return hidden.last[index_M]

    def sizes(self, batch: Batch, rows: Tensor) -> Tensor:
        """Tokens of each row."""
        return (batch.cu_seqlens[rows + 1] - batch.cu_seqlens[rows]).long()

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Divergence in fp32 of the predicted from the smoothed targets, every token predicted from those before it;
        summed over tokens. *logits* [M, D]: what `forward` gave."""
        ids_N, logits_NC = targets.values["ids"], self._predicted(logits, targets)
        crossed = F.cross_entropy(logits_NC, ids_N, label_smoothing=self.task.label_smoothing, reduction="sum")
        return crossed - self.least_loss * len(ids_N)

    def _predicted(self, logits: Tensor, targets: Targets) -> Tensor:
        """The vocabulary's logits [N, C] for every token of the targets, from those before it."""
        source_cu = F.pad(targets.values["source"].cumsum(0), (1, 0))
        with torch.autocast(logits.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
            predicted_NC: Tensor = self.decoder(targets.values["ids"], targets.cu["ids"], logits, source_cu)
        return predicted_NC

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Of the probabilities of the vocabulary, summed over tokens of the targets. The decoder runs once more for
        each side."""
        return class_divergence(self._predicted(first, targets), self._predicted(second, targets)).sum()

    def answers(self, hidden: Hidden, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What is written for each row: token and log-probability [N, 2] in fp32, and how many tokens [R]."""
        index_M, cu = select(hidden.batch.cu_seqlens, rows)
        memory_MD, device = hidden.last[index_M], hidden.last.device
        request = Request(rows=len(rows), begin=self.decoder.begin, end=self.end, longest=self.task.max_target_length)
        found = Sequences.empty(request, device)
        chance_RL = self._chance(hidden.batch, rows) if self.task.sample else None
        # Rows of one length go together, so that little is padded.
        for part in cu.diff().argsort(stable=True).split(self._rows_at_once()):
            places, part_cu = select(cu, part)
            written = self._write(memory_MD[places], part_cu, None if chance_RL is None else chance_RL[part])
            found.ids[part], found.log_probs[part], found.sizes[part] = written.ids, written.log_probs, written.sizes
        ids_N, log_probs_N = found.flat()
        return torch.stack([ids_N.float(), log_probs_N], dim=1), found.sizes

    def _write(self, memory_MD: Tensor, cu: Tensor, chance_RL: Tensor | None) -> Sequences:
        task, device, model = self.task, memory_MD.device, self.decoder.continuation(memory_MD, cu)
        request = Request(rows=len(cu) - 1, begin=self.decoder.begin, end=self.end, longest=task.max_target_length)
        if chance_RL is not None:
            choose = sampler(chance_RL, temperature=task.temperature, top_k=task.top_k, top_p=task.top_p)
            return write(model, request, choose, device=device)
        if task.beam == 1:
            return write(model, request, greedy, device=device)
        return beam_search(model, request, beams=task.beam, alpha=task.length_penalty, device=device)

    def _rows_at_once(self) -> int:
        shape = self.decoder.shape
        beams = 1 if self.task.sample else self.task.beam
        floats = 3 * shape.vocab_size + 4 * shape.layers * shape.hidden_size * shape.positions
        return max(1, GENERATION_FLOATS // (beams * floats))

    def _chance(self, batch: Batch, rows: Tensor) -> Tensor:
        """Random numbers [R, L] that hang on the seed and on each row's own tokens alone."""
        ids, bounds = batch.ids.cpu().numpy(), batch.cu_seqlens.cpu().numpy()
        keys = [zlib.crc32(ids[bounds[row] : bounds[row + 1]].tobytes()) for row in rows.tolist()]
        sources = [np.random.default_rng([self.task.seed, key]) for key in keys]
        chance = [source.random(self.task.max_target_length, dtype=np.float32) for source in sources]
        return torch.from_numpy(np.stack(chance)).to(batch.ids.device)

    def decode(
        self, logits: Sequence[np.ndarray], examples: Sequence[Example], units: Sequence[np.ndarray]
    ) -> list[Generated]:
        """Tokens [N, 2], with their log-probabilities, as texts."""
        out = []
        for row_N2 in logits:
            ids = [token for token in row_N2[:, 0].astype(np.int64).tolist() if token != self.end]
            score = float(row_N2[:, 1].mean()) if len(row_N2) else 0.0
            out.append(Generated(self.vocabulary.decode(ids), score))
        return out


def _vocabulary(facts: Facts) -> Vocabulary:
    return load_vocabulary(labels=facts.get("labels"), tokenizer=facts.get("tokenizer"))


def _smoothed_entropy(share: float, classes: int) -> float:
    """Entropy of a target that gives `share` of itself to all classes evenly: the least cross-entropy with it."""
    each = share / classes
    return -sum(n * p * math.log(p) for n, p in ((1, 1 - share + each), (classes - 1, each)) if p > 0)
