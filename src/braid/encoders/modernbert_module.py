"""The packed ModernBERT encoder: rotary positions, a few layers that see the whole row among many that see nearby.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.layouts import Layout
from braid.encoders.packed_module import PackedEncoder, layers_of
from braid.nn.attention import attend
from braid.nn.dropout import Dropout
from braid.nn.linear import rounded
from braid.nn.positions import rotate, rotation
from braid.nn.transformer import Attention, Shape, initialise


@dataclass(frozen=True, kw_only=True)
class ModernBertShape(Shape):
    """*window*: local layers see `window // 2` tokens to either side; *thetas*: bases of the rotary angles of global
    and of local layers; *local*: which layers are local, by their number modulo its length."""

    window: int
    thetas: tuple[float, float]
    local: tuple[bool, ...]


class ModernBertEncoder(PackedEncoder):
    """ModernBERT on packed rows (Warner et al. 2024, arXiv 2412.13663)."""

    leaves_out = True
    traceable = True

    shape: ModernBertShape

    def __init__(self, shape: Shape, layout: Layout, config: dict[str, Any]) -> None:
        assert isinstance(shape, ModernBertShape)
        super().__init__(shape, layout, config)
        size, eps, bias = shape.hidden_size, shape.norm_eps, shape.norm_bias
        self.word = nn.Embedding(shape.vocab_size, size)
        self.norm = nn.LayerNorm(size, eps=eps, bias=bias)
        self.dropout = Dropout(shape.dropout)
        self.layers = layers_of(shape)
        # What the first layer reads has just been normalised.
        self.layers[0].attention_norm = nn.Identity()
        self.final_norm = nn.LayerNorm(size, eps=eps, bias=bias)

    def initialise(self, std: float) -> None:
        """As ModernBERT-base's: normal, cut off at two deviations; what layers add begins smaller."""
        initialise(self, std, output_std=std / math.sqrt(2 * self.n_layers), cutoff=2.0)

    @property
    def layer_count(self) -> str | None:
        """None: whether a layer is local hangs on its number."""
        return None

    @property
    def word_embeddings(self) -> Tensor:
        """[V, D]."""
        return self.word.weight

    def forward(self, batch: Batch, read: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first, the last one after the final norm)."""
        self.check_length(batch)
        theta, local_theta = self.shape.thetas
        far, near = self._attention(batch, theta), self._attention(batch, local_theta, self.shape.window)
        local = self.shape.local
        attentions = [near if local[number % len(local)] else far for number in range(self.n_layers)]
        hidden_TD = self.dropout(self.norm(self.word(batch.ids)))
        return self.run(rounded(hidden_TD), attentions, batch.n_tokens, read)

    def _attention(self, batch: Batch, theta: float, window: int | None = None) -> Attention:
        turn = rotation(batch.positions, self.shape.head_size, theta)
        plain = partial(attend, batch=batch, window=window, dropout=self.attention_dropout)
        return lambda qkv_T3HE: plain(rotate(qkv_T3HE, turn))
