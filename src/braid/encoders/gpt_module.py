"""The packed GPT-2 encoder, and how it writes on.

Shape legend: T tokens, D hidden size, N continuations.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Continuation, Sight
from braid.encoders.layouts import Layout
from braid.encoders.packed_module import PackedEncoder, layers_of
from braid.errors import BraidError
from braid.nn.attention import attend
from braid.nn.cache import KeyValueCache
from braid.nn.dropout import Dropout
from braid.nn.linear import rounded
from braid.nn.transformer import Attention, Shape, initialise


class GptEncoder(PackedEncoder):
    """GPT-2 on packed rows (Radford et al. 2019, Language Models are Unsupervised Multitask Learners)."""

    sees: Sight = "left"
    traceable = True

    def __init__(self, shape: Shape, layout: Layout, config: dict[str, Any]) -> None:
        super().__init__(shape, layout, config)
        self.word = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.position = nn.Embedding(shape.positions, shape.hidden_size)
        self.dropout = Dropout(shape.dropout)
        self.layers = layers_of(shape)
        self.final_norm = nn.LayerNorm(shape.hidden_size, eps=shape.norm_eps)

    def initialise(self, std: float) -> None:
        """As GPT-2's (section 2.3): what layers add begins smaller, the more of them there are."""
        initialise(self, std, output_std=std / math.sqrt(2 * self.n_layers))

    @property
    def word_embeddings(self) -> Tensor:
        """[V, D]."""
        return self.word.weight

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first, the last one after the final norm)."""
        self.check_length(batch)
        causal: Attention = partial(attend, batch=batch, causal=True, dropout=self.attention_dropout)
        hidden_TD = self.embed(batch.ids, batch.positions)
        return self.run(rounded(hidden_TD), [causal] * self.n_layers, batch.n_tokens)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """[T, D] of tokens [T] at positions [T]."""
        embedded: Tensor = self.dropout(self.word(ids) + self.position(positions))
        return embedded

    def continuation(self, batch: Batch) -> Continuation:
        """The rows of a batch, ready to be written on."""
        return GptContinuation(self, batch)


class GptContinuation(Continuation):
    """Rows of any lengths in the middle of being written; no gradient goes through them."""

    @torch.no_grad()
    def __init__(self, encoder: GptEncoder, batch: Batch) -> None:
        encoder.check_length(batch)
        self.encoder = encoder
        self.cache = KeyValueCache(batch)
        self.length_N = batch.cu_seqlens.diff().long()

        def read(qkv_T3HE: Tensor) -> Tensor:
            self.cache.add_layer(qkv_T3HE)
            return attend(qkv_T3HE, batch, causal=True)

        hidden_TD = encoder.embed(batch.ids, batch.positions)
        states_TD, _ = encoder.run(rounded(hidden_TD), [read] * encoder.n_layers, batch.n_tokens)
        self.last = states_TD.index_select(0, batch.cu_seqlens[1:].long() - 1)

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """The hidden states [N, D] of tokens [N] that come next. Raises BraidError where no position is left."""
        self._check_room()
        self.cache.advance()
        attentions = [partial(self.cache.attend, layer) for layer in range(self.encoder.n_layers)]
        hidden_ND = self.encoder.embed(ids, self.length_N)
        self.last, _ = self.encoder.run(hidden_ND, attentions, len(ids))
        self.length_N = self.length_N + 1
        return self.last

    def select(self, index: Tensor) -> None:
        """Go on from continuations `index` [N']."""
        self.cache.select(index)
        self.length_N = self.length_N.index_select(0, index)
        self.last = self.last.index_select(0, index)

    def _check_room(self) -> None:
        limit = self.encoder.shape.positions
        # The cache is as long as the longest row that ever was; only where that is too long need lengths be looked at.
        if self.cache.used >= limit and int(self.length_N.max()) >= limit:
            raise BraidError(f"a row cannot become longer than the encoder's {limit:,} positions")
