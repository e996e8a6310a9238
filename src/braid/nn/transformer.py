"""The bricks of an encoder of layers that attend and feed forward, on packed tokens.

Shape legend: T tokens, D hidden size, M embedding size, F inner size, H heads, E size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.nn.dropout import Dropout
from braid.nn.linear import Linear, rounded
from braid.nn.positions import sinusoids

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda hidden: F.gelu(hidden, approximate="tanh"),
    "gelu_pytorch_tanh": lambda hidden: F.gelu(hidden, approximate="tanh"),
    "gelu_fast": lambda hidden: F.gelu(hidden, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}
"""Activations by transformers' names."""


Positions = Literal["learned", "rotary", "relative", "sinusoidal"]
"""How an encoder knows positions: a learned vector for each, rotated queries and keys, biased scores, or waves."""

Norm = Literal["post", "pre"]
"""Whether each half of a layer normalises its sum or its input."""

Attention = Callable[[Tensor], Tensor]
"""How the tokens of a layer attend: queries, keys and values [T, 3, H, E] -> [t, H, E], where t <= T are those that
stand for tokens. The encoder says which tokens see each other; a layer does not know."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes and constants of an encoder. *position_offset*: what the first token's position is (RoBERTa: pad id + 1);
    *groups*, *inner*: ALBERT's shared layers, `inner` layers in each of `groups` groups (0 groups: none shared);
    *mapped*: whether embeddings are mapped to the hidden size (ALBERT always, ELECTRA where the sizes differ);
    *gated*: whether the feed-forward has a gate."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    embedding_size: int
    positions: int
    segments: int
    task_types: int = 0
    position_type: Positions = "learned"
    position_offset: int = 0
    pad_id: int = 0
    activation: str = "gelu"
    norm: Norm = "post"
    norm_eps: float = 1e-12
    norm_bias: bool = True
    gated: bool = False
    attention_bias: bool = True
    feed_forward_bias: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.0
    groups: int = 0
    inner: int = 1
    mapped: bool = False

    @property
    def head_size(self) -> int:
        """E."""
        return self.hidden_size // self.heads


class Embeddings(nn.Module):
    """Word, position, segment (and ERNIE's task) embeddings, summed and normalised (BERT, arXiv 1810.04805)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.embedding_size
        self.offset = shape.position_offset
        self.word = nn.Embedding(shape.vocab_size, size)
        self.position = nn.Embedding(shape.positions, size) if shape.position_type == "learned" else None
        self.waves = shape.position_type == "sinusoidal"
        self.segment = nn.Embedding(shape.segments, size) if shape.segments else None
        self.task = nn.Embedding(shape.task_types, size) if shape.task_types else None
        self.norm = nn.LayerNorm(size, eps=shape.norm_eps)
        self.dropout = Dropout(shape.dropout)
        self.project = Linear(size, shape.hidden_size) if shape.mapped else None

    def forward(self, batch: Batch) -> Tensor:
        """*Shape*: [T, D]."""
        hidden_TM = self.word(batch.ids)
        if self.position is not None:
            hidden_TM = hidden_TM + self.position(batch.positions + self.offset)
        elif self.waves:
            size = hidden_TM.shape[1]
            # Fresh words are small; as loud as the waves they are heard (Vaswani et al. 2017, section 3.4).
            waves_LM = sinusoids(batch.max_length, size, hidden_TM.device)
            hidden_TM = hidden_TM * math.sqrt(size) + waves_LM[batch.positions]
        if self.segment is not None:
            # RoBERTa knows one segment only; its pairs are told apart by their separators.
            one = self.segment.num_embeddings == 1
            hidden_TM = hidden_TM + (self.segment.weight[0] if one else self.segment(batch.segments))
        if self.task is not None:
            hidden_TM = hidden_TM + self.task.weight[0]
        hidden_TM = self.dropout(self.norm(hidden_TM))
        return hidden_TM if self.project is None else self.project(hidden_TM)


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input. What is normalised is either the sum (post-LN, as BERT) or
    what goes in (pre-LN, as GPT-2; Xiong et al. 2020, arXiv 2002.04745). The feed-forward may have a gate (GEGLU and
    its like, Shazeer 2020, arXiv 2002.05202): then `intermediate` computes what is activated and what it is multiplied
    by."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, inner, eps = shape.hidden_size, shape.intermediate_size, shape.norm_eps
        self.heads = shape.heads
        self.before, self.gated = shape.norm == "pre", shape.gated
        self.qkv = Linear(size, 3 * size, bias=shape.attention_bias)
        self.attention_output = Linear(size, size, bias=shape.attention_bias)
        self.attention_norm: nn.Module = nn.LayerNorm(size, eps=eps, bias=shape.norm_bias)
        self.intermediate = Linear(size, 2 * inner if shape.gated else inner, bias=shape.feed_forward_bias)
        self.output = Linear(inner, size, bias=shape.feed_forward_bias)
        self.output_norm = nn.LayerNorm(size, eps=eps, bias=shape.norm_bias)
        self.dropout = Dropout(shape.dropout)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, hidden_TD: Tensor, attention: Attention, read: Tensor | None = None) -> Tensor:
        """*Shape*: [T, D] -> [T, D]; T may be `rounded` up, what stands there means nothing. *read* [N]: the tokens
        whose states are wanted, which all others only help to make: [N, D], rounded up too."""
        given_TD = self.attention_norm(hidden_TD) if self.before else hidden_TD
        if read is not None:
            hidden_TD = rounded(hidden_TD.index_select(0, read))
        hidden_TD = hidden_TD + self._attended(given_TD, attention, read)
        if self.before:
            return hidden_TD + self._fed_forward(self.output_norm(hidden_TD))
        hidden_TD = self.attention_norm(hidden_TD)
        normed_TD: Tensor = self.output_norm(hidden_TD + self._fed_forward(hidden_TD))
        return normed_TD

    def _attended(self, hidden_TD: Tensor, attention: Attention, read: Tensor | None) -> Tensor:
        places, size = hidden_TD.shape
        qkv_T3HE = self.qkv(hidden_TD).view(places, 3, self.heads, size // self.heads)
        context_TD = attention(qkv_T3HE).reshape(-1, size)
        if read is not None:
            context_TD = rounded(context_TD.index_select(0, read))
        elif not torch.compiler.is_exporting() and len(context_TD) < places:
            context_TD = F.pad(context_TD, (0, 0, 0, places - len(context_TD)))
        out_TD: Tensor = self.dropout(self.attention_output(context_TD))
        return out_TD

    def _fed_forward(self, hidden_TD: Tensor) -> Tensor:
        inner_TF = self.intermediate(hidden_TD)
        if self.gated:
            inner_TF, gate_TF = inner_TF.chunk(2, dim=-1)
            inner_TF = self.activation(inner_TF) * gate_TF
        else:
            inner_TF = self.activation(inner_TF)
        out_TD: Tensor = self.dropout(self.output(inner_TF))
        return out_TD


def initialise(model: nn.Module, std: float, *, output_std: float | None = None, cutoff: float | None = None) -> None:
    """Fresh weights as BERT's: normal with deviation `std`, zero biases, unit norms. *output_std*: of the matrices
    whose output is added to a layer's input, where it differs; *cutoff*: no weight is further from zero than so many
    deviations."""

    def fill(weight: Tensor, std: float) -> None:
        if cutoff is None:
            nn.init.normal_(weight, std=std)
        else:
            nn.init.trunc_normal_(weight, std=std, a=-cutoff * std, b=cutoff * std)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            fill(module.weight, std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Layer) and output_std is not None:
            fill(module.attention_output.weight, output_std)
            fill(module.output.weight, output_std)
