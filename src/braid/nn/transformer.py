"""The bricks of a BERT-like encoder on packed tokens.

Shape legend: T tokens, D hidden size, M embedding size, H heads, E size of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.nn.attention import attend

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


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes and constants of an encoder. *position_offset*: what the first token's position is (RoBERTa: pad id + 1);
    *groups*, *inner*: ALBERT's shared layers, `inner` layers in each of `groups` groups (0 groups: none shared)."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    embedding_size: int
    positions: int
    segments: int
    task_types: int = 0
    position_offset: int = 0
    pad_id: int = 0
    activation: str = "gelu"
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.0
    groups: int = 0
    inner: int = 1
    mapped: bool = False
    """Whether embeddings are mapped to the hidden size (ALBERT always, ELECTRA where the sizes differ)."""


ROUND = 64
"""On a CPU the number of tokens in linear layers is rounded up to a multiple of this, about 2%: oneDNN compiles
a kernel for every new shape, which costs more than the empty places and, over many shapes, much memory."""


def rounded(hidden_TD: Tensor) -> Tensor:
    """[T, D] with T rounded up by zeros on a CPU. No token ever sees them: linear layers and norms work place by place,
    attention reads real tokens only."""
    return F.pad(hidden_TD, (0, 0, 0, -len(hidden_TD) % ROUND)) if hidden_TD.device.type == "cpu" else hidden_TD


class Embeddings(nn.Module):
    """Word, position, segment (and ERNIE's task) embeddings, summed and normalised (BERT, arXiv 1810.04805)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.embedding_size
        self.offset = shape.position_offset
        self.word = nn.Embedding(shape.vocab_size, size)
        self.position = nn.Embedding(shape.positions, size)
        self.segment = nn.Embedding(shape.segments, size) if shape.segments else None
        self.task = nn.Embedding(shape.task_types, size) if shape.task_types else None
        self.norm = nn.LayerNorm(size, eps=shape.norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.project = nn.Linear(size, shape.hidden_size) if shape.mapped else None

    def forward(self, batch: Batch) -> Tensor:
        """*Shape*: [T, D]."""
        hidden_TM = self.word(batch.ids) + self.position(batch.positions + self.offset)
        if self.segment is not None:
            # RoBERTa knows one segment only; its pairs are told apart by their separators.
            one = self.segment.num_embeddings == 1
            hidden_TM = hidden_TM + (self.segment.weight[0] if one else self.segment(batch.segments))
        if self.task is not None:
            hidden_TM = hidden_TM + self.task.weight[0]
        hidden_TM = self.dropout(self.norm(hidden_TM))
        return hidden_TM if self.project is None else self.project(hidden_TM)


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised afterwards (post-LN, as BERT)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.hidden_size
        self.heads = shape.heads
        self.attention_dropout = shape.attention_dropout
        self.qkv = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size, eps=shape.norm_eps)
        self.intermediate = nn.Linear(size, shape.intermediate_size)
        self.output = nn.Linear(shape.intermediate_size, size)
        self.output_norm = nn.LayerNorm(size, eps=shape.norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """*Shape*: [T, D] -> [T, D]; T may be `rounded` up, what stands there means nothing."""
        places, size = hidden_TD.shape
        tokens = batch.n_tokens
        qkv_T3HE = self.qkv(hidden_TD).view(places, 3, self.heads, size // self.heads)
        dropout = self.attention_dropout if self.training else 0.0
        context_TD = attend(qkv_T3HE[:tokens], batch, dropout=dropout).reshape(tokens, size)
        context_TD = F.pad(context_TD, (0, 0, 0, places - tokens))
        hidden_TD = self.attention_norm(hidden_TD + self.dropout(self.attention_output(context_TD)))
        inner_TF = self.activation(self.intermediate(hidden_TD))
        return self.output_norm(hidden_TD + self.dropout(self.output(inner_TF)))
