"""Writing on: a language model continues prompts.

Shape legend: R prompts, K beams, N continuations (R x K), V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from braid.data.packing import pack_ids
from braid.data.tokens import Tokenizer
from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.nn.generate import Request, beam_search, greedy, sampler, write
from braid.tasks.clm import ClmHead


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How prompts are continued. *longest*: tokens to write at most. With *sample* tokens are drawn at random (see
    `braid.nn.generate.sampler`), else the best of *beams* sequences is searched, 1 being greedy. *repetition_penalty*:
    what the logits of tokens that stand there already are divided by, or multiplied with where they are negative
    (CTRL, arXiv 1909.05858, section 4.1)."""

    longest: int = 100
    beams: int = 1
    length_penalty: float = 0.6
    sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Continued:
    """What was written: *prompt*, *text* behind it, both together, and the mean log-probability of its tokens."""

    prompt: str
    text: str
    whole: str
    score: float


def continue_prompts(
    encoder: Encoder,
    head: ClmHead,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    writing: Writing,
    *,
    device: torch.device,
    told: Callable[[list[int]], None] = lambda ids: None,
) -> list[Continued]:
    """Continue every prompt, all at once. *told* hears the tokens of the first prompt as they are written, unless beams
    are searched.

    Raises BraidError for a prompt that leaves no room to write."""
    begin = tokenizer.template.prefix.astype(np.int64)
    rows = [np.concatenate([begin, ids.astype(np.int64)]) for ids in tokenizer.encode_ids(list(prompts))]
    empty = [number for number, row in enumerate(rows) if not len(row)]
    if empty:
        raise BraidError("an empty prompt gives this model nothing to begin with: its tokenizer has no first token")
    longest = writing.longest
    if encoder.max_positions is not None:
        longest = min(longest, encoder.max_positions - max(len(row) for row in rows))
    if longest < 1:
        raise BraidError(f"the prompt fills all of the encoder's {encoder.max_positions} positions; shorten it")
    end = _end(tokenizer)
    request = Request(rows=len(rows), begin=0, end=end, longest=longest)
    with torch.inference_mode():
        batch = pack_ids([row.tolist() for row in rows]).to(device)
        model = _Writer(encoder, head, batch, rows, _never(tokenizer, end, device), writing.repetition_penalty)
        if writing.beams > 1 and not writing.sample:
            found = beam_search(model, request, beams=writing.beams, alpha=writing.length_penalty, device=device)
        else:
            found = write(model, request, _telling(_choice(writing, request, device), told), device=device)
    out = []
    for number, prompt in enumerate(prompts):
        size = int(found.sizes[number])
        ids = [token for token in found.ids[number, :size].tolist() if token != end]
        score = float(found.log_probs[number, :size].mean()) if size else 0.0
        text = tokenizer.decode(ids)
        out.append(Continued(prompt, text, joined(tokenizer, prompt, ids), score))
    return out


def joined(tokenizer: Tokenizer, prompt: str, ids: Sequence[int]) -> str:
    """A prompt and what was written behind it, with a space between where one belongs: a byte-level vocabulary writes
    it itself, SentencePiece's marks it, WordPiece keeps none, so that it stands between words of letters."""
    text = tokenizer.decode(ids)
    if not prompt or not text or prompt[-1].isspace() or text[0].isspace():
        return prompt + text
    if tokenizer.rust.decoder is not None:
        apart = tokenizer.tokens(ids[:1])[0].startswith("▁")
    else:
        apart = (prompt[-1] + text[0]).isascii() and text[0].isalnum()
    return f"{prompt} {text}" if apart else prompt + text


def _choice(writing: Writing, request: Request, device: torch.device) -> Callable[[Tensor, Tensor, int], Tensor]:
    if not writing.sample:
        return greedy
    chance = np.random.default_rng(writing.seed).random((request.rows, request.longest), dtype=np.float32)
    return sampler(
        torch.from_numpy(chance).to(device),
        temperature=writing.temperature,
        top_k=writing.top_k,
        top_p=writing.top_p,
    )


def _telling(
    choose: Callable[[Tensor, Tensor, int], Tensor], told: Callable[[list[int]], None]
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The same choice, the first row's tokens told as they come."""
    written: list[int] = []

    def chosen(logits_AC: Tensor, rows_A: Tensor, t: int) -> Tensor:
        ids_A = choose(logits_AC, rows_A, t)
        if int(rows_A[0]) == 0:
            written.append(int(ids_A[0]))
            told(written)
        return ids_A

    return chosen


def _end(tokenizer: Tokenizer) -> int:
    """The token that ends a text: the last that the tokenizer puts around one; -1: none, texts never end."""
    suffix = tokenizer.template.suffix
    if len(suffix):
        return int(suffix[-1])
    found = tokenizer.rust.token_to_id("<|endoftext|>")
    return -1 if found is None else int(found)


def _never(tokenizer: Tokenizer, end: int, device: torch.device) -> Tensor:
    """Tokens that are not text and end nothing: [n]."""
    return torch.tensor(sorted(set(tokenizer.special_ids) - {end}), dtype=torch.int64, device=device)


class _Writer:
    """An encoder that sees the left, with its language model head, as `braid.nn.generate` wants a model."""

    def __init__(
        self,
        encoder: Encoder,
        head: ClmHead,
        batch: object,
        rows: Sequence[np.ndarray],
        never: Tensor,
        penalty: float,
    ) -> None:
        self.state = encoder.continuation(batch)  # type: ignore[arg-type]
        self.head, self.words, self.never, self.penalty = head, encoder.word_embeddings, never, penalty
        self.seen_NV: Tensor | None = None
        if penalty != 1.0:
            self.seen_NV = torch.zeros(len(rows), len(self.words), dtype=torch.bool, device=self.words.device)
            for number, row in enumerate(rows):
                self.seen_NV[number, torch.from_numpy(row).to(self.words.device)] = True
        self.beams = 0

    def step(self, ids_RK: Tensor) -> Tensor:
        """Logits [R, K, V] of what comes next; the first call reads nothing but the prompts, and fixes K."""
        rows, beams = ids_RK.shape
        if self.beams == 0:
            self.beams = beams
            self._select(torch.arange(rows, device=ids_RK.device).repeat_interleave(beams))
        else:
            self.state.step(ids_RK.flatten())
            if self.seen_NV is not None:
                self.seen_NV.scatter_(1, ids_RK.reshape(-1, 1), True)
        logits_NV = self.head.next_logits(self.state.last, self.words)
        if self.seen_NV is not None:
            penalised = torch.where(logits_NV > 0, logits_NV / self.penalty, logits_NV * self.penalty)
            logits_NV = torch.where(self.seen_NV, penalised, logits_NV)
        logits_NV = logits_NV.index_fill(1, self.never, float("-inf"))
        return logits_NV.view(rows, beams, -1)

    def reorder(self, parents_RK: Tensor) -> None:
        """Go on, as continuation k of each row, from what was its continuation `parents[k]`."""
        first_R = torch.arange(len(parents_RK), device=parents_RK.device) * self.beams
        self._select((first_R[:, None] + parents_RK).flatten())

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the prompts only."""
        beams = torch.arange(self.beams, device=rows.device)
        self._select((rows[:, None] * self.beams + beams).flatten())

    def _select(self, index_N: Tensor) -> None:
        self.state.select(index_N)
        if self.seen_NV is not None:
            self.seen_NV = self.seen_NV[index_N]
