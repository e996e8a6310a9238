"""Cloze tests: what a masked language model puts where a text has a mask."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from braid.data.packing import pack_ids
from braid.data.tokens import Tokenizer
from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.tasks.base import Hidden
from braid.tasks.mlm import MlmHead


@dataclass(frozen=True)
class Guess:
    """A token that could stand at a mask, and how probable the model holds it."""

    token: str
    probability: float


@dataclass(frozen=True)
class Blank:
    """One mask: the *guesses*, most probable first, and the token that stood there, where it was masked by us."""

    guesses: tuple[Guess, ...]
    original: str | None = None


@dataclass(frozen=True)
class Filled:
    """*text* with its masks; *blanks* in their order; *best*: the text with the most probable tokens."""

    text: str
    blanks: tuple[Blank, ...]
    best: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return asdict(self)


def fill(
    encoder: Encoder,
    head: MlmHead,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    top: int,
    max_length: int,
    seed: int,
    device: torch.device,
) -> list[Filled]:
    """The *top* tokens for every mask of each text; of a text without a mask a random token is masked, by the seed.

    Raises BraidError for a text without a token, or one that is too long."""
    mask = tokenizer.mask_id
    assert mask is not None
    rows = [_row(text, tokenizer, mask, max_length, random.Random(f"{seed}:{text}")) for text in texts]
    template = tokenizer.template
    batch = pack_ids([[*template.prefix.tolist(), *ids, *template.suffix.tolist()] for ids, _ in rows]).to(device)
    places_N = (batch.ids == mask).nonzero().squeeze(1)
    with torch.inference_mode():
        last, layers = encoder(batch)
        hidden = head.mixed(Hidden(last, batch, layers, words=encoder.word_embeddings))
        share_NV = head.logits(hidden, places_N).softmax(dim=-1)
        best_NK, tokens_NK = share_NV.topk(min(top, share_NV.shape[1]), dim=-1)
    found = iter(zip(best_NK.tolist(), tokens_NK.tolist(), strict=True))
    out = []
    for text, (ids, original) in zip(texts, rows, strict=True):
        blanks, whole = [], []
        for token in ids:
            if token != mask:
                whole.append(token)
                continue
            shares, tokens = next(found)
            names = tokenizer.tokens(tokens)
            blanks.append(Blank(tuple(map(Guess, names, shares)), original))
            whole.append(tokens[0])
        shown = text if original is None else _shown(tokenizer, ids, mask)
        out.append(Filled(shown, tuple(blanks), tokenizer.decode(whole)))
    return out


def _row(
    text: str, tokenizer: Tokenizer, mask: int, max_length: int, rng: random.Random
) -> tuple[list[int], str | None]:
    """The text's tokens with its masks, and the token that was masked where it had none."""
    name = tokenizer.tokens([mask])[0]
    pieces = tokenizer.encode_ids(text.split(name))
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        ids += [mask] * (number > 0) + np.asarray(piece).tolist()
    if not ids:
        raise BraidError(f"{text!r} holds no token, so there is nothing to guess")
    if len(ids) + tokenizer.template.single_cost > max_length:
        raise BraidError(f"the text {text[:30]!r}... is longer than the {max_length} tokens that the encoder reads")
    if mask in ids:
        return ids, None
    place = rng.randrange(len(ids))
    original = tokenizer.tokens([ids[place]])[0]
    ids[place] = mask
    return ids, original


def _shown(tokenizer: Tokenizer, ids: Sequence[int], mask: int) -> str:
    """A text with its mask as people read it."""
    place = list(ids).index(mask)
    before, behind = tokenizer.decode(list(ids[:place])), tokenizer.decode(list(ids[place + 1 :]))
    return f"{before}{tokenizer.tokens([mask])[0]}{behind}"
