"""The packed BERT encoder, with shared layers where the shape says so.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.layouts import Layout
from braid.encoders.packed_module import PackedEncoder, layers_of
from braid.nn.attention import attend
from braid.nn.linear import rounded
from braid.nn.positions import RelativeBias, rotate, rotation
from braid.nn.transformer import Attention, Embeddings, Shape, initialise

THETA = 10_000.0
"""Base of the angles of rotary positions (Su et al. 2021, arXiv 2104.09864)."""


class BertEncoder(PackedEncoder):
    """BERT and its relatives on packed rows."""

    leaves_out = True
    traceable = True

    def __init__(self, shape: Shape, layout: Layout, config: dict[str, Any]) -> None:
        super().__init__(shape, layout, config)
        if shape.position_type != "learned":
            self.max_positions = None
        self.embeddings = Embeddings(shape)
        self.relative = RelativeBias(shape.heads) if shape.position_type == "relative" else None
        self.layers = layers_of(shape)
        # A sum that no layer normalises grows from layer to layer.
        self.final_norm = nn.LayerNorm(shape.hidden_size, eps=shape.norm_eps) if shape.norm == "pre" else None

    def initialise(self, std: float) -> None:
        """As BERT's; the padding row is zero."""
        initialise(self, std)
        with torch.no_grad():
            self.embeddings.word.weight[self.shape.pad_id].zero_()

    @property
    def n_states(self) -> int:
        """The embeddings and every layer; those within one of ALBERT's groups count each."""
        return 1 + self.shape.layers * (self.shape.inner if self.shape.groups else 1)

    def keep_pooler(self, weight: Tensor, bias: Tensor) -> None:
        """Under BERT's or ALBERT's name."""
        stem = "pooler" if self.layout.model_type == "albert" else "pooler.dense"
        self.extra = {f"{stem}.weight": weight.detach().clone(), f"{stem}.bias": bias.detach().clone()}

    @property
    def pooler(self) -> tuple[Tensor, Tensor] | None:
        """The checkpoint's (BERT's `pooler.dense`, ALBERT's `pooler`)."""
        for name in ("pooler.dense", "pooler"):
            weight, bias = self.extra.get(f"{name}.weight"), self.extra.get(f"{name}.bias")
            if weight is not None and bias is not None:
                return weight, bias
        return None

    @property
    def word_embeddings(self) -> Tensor:
        """[V, M]; M is the embedding size."""
        return self.embeddings.word.weight

    def forward(self, batch: Batch, read: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        self.check_length(batch)
        attentions = [self._attention(batch)] * (self.n_states - 1)
        return self.run(rounded(self.embeddings(batch)), attentions, batch.n_tokens, read)

    def _attention(self, batch: Batch) -> Attention:
        """How tokens attend, which is the same in all layers: to all of their row."""
        bias = None if self.relative is None else self.relative(batch.blocks)
        plain = partial(attend, batch=batch, bias=bias, dropout=self.attention_dropout)
        if self.shape.position_type != "rotary":
            return plain
        turn = rotation(batch.positions, self.shape.head_size, THETA)
        return lambda qkv_T3HE: plain(rotate(qkv_T3HE, turn))

    def steps(self) -> Sequence[nn.Module]:
        """Each layer once, or ALBERT's: for each of the shape's layers those of its group."""
        if not self.shape.groups:
            return list(self.layers)
        groups, inner = self.shape.groups, self.shape.inner
        firsts = (number * groups // self.shape.layers * inner for number in range(self.shape.layers))
        return [self.layers[first + k] for first in firsts for k in range(inner)]

    def layer_of(self, name: str) -> int:
        """0 for the embeddings; shared layers count as the deepest layer that uses them."""
        if not name.startswith("layers.") or not self.shape.groups:
            return super().layer_of(name)
        group = int(name.split(".")[1]) // self.shape.inner
        return max(k + 1 for k in range(self.shape.layers) if k * self.shape.groups // self.shape.layers == group)
