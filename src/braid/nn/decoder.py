"""A transformer decoder that reads the packed states of an encoder (Vaswani et al. 2017, arXiv 1706.03762).

Layers normalise their input (pre-LN, Xiong et al. 2020, arXiv 2002.04745), which trains from scratch without care.
One layer's code serves both ways to run: all positions of known targets at once (`Decoder.forward`), and one position
after the other with a cache of keys and values (`Continuation`).

Shape legend: R rows, N tokens of their targets laid end to end, M tokens of their sources likewise, L the longest
target, S the longest source, K continuations of one row, V tokens of the vocabulary, C those that can be written
(all but the begin symbol), D hidden size, P source states' size, H heads, E size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.nn.dropout import Dropout
from braid.nn.linear import Linear, rounded
from braid.nn.positions import sinusoids


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Sizes of a decoder. *vocab_size*: C, tokens that can be written; the begin symbol is one more, read only.
    *memory_size*: P; *positions*: the longest target; *tied*: whether the output layer is the embedding."""

    vocab_size: int
    hidden_size: int
    memory_size: int
    layers: int
    heads: int
    intermediate_size: int
    positions: int
    tied: bool = True
    dropout: float = 0.1


class Rectangle:
    """How ragged rows, laid end to end, stand in a rectangle [R, L]: each from the left, zeros behind it."""

    def __init__(self, cu: Tensor) -> None:
        lengths_R = cu.diff()
        self.rows, self.longest, self.total = len(lengths_R), int(lengths_R.max()), int(cu[-1])
        keep_RL = torch.arange(self.longest, device=cu.device) < lengths_R[:, None]
        self.keep_RL = None if self.total == self.rows * self.longest else keep_RL
        self.places_N = keep_RL.flatten().nonzero().squeeze(1)
        self.positions_N = self.places_N % self.longest

    def spread(self, values: Tensor) -> Tensor:
        """[N, ...] -> [R, L, ...]."""
        if self.keep_RL is not None:
            empty = values.new_zeros(self.rows * self.longest, *values.shape[1:])
            values = empty.index_copy(0, self.places_N, values)
        return values.view(self.rows, self.longest, *values.shape[1:])

    def gather(self, values: Tensor) -> Tensor:
        """[R, L, ...] -> [N, ...]."""
        flat = values.flatten(0, 1)
        return flat if self.keep_RL is None else flat.index_select(0, self.places_N)


def attention(query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Scaled dot-product attention [R, H, L, E] over [R, H, S, E]; *keep* [R, 1, 1, S]: False where nothing stands."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
        # The backward pass of the CPU's flash kernel is several times slower in bf16 than in fp32.
        with torch.autocast("cpu", enabled=False):
            parts = query.float(), key.float(), value.float()
            return F.scaled_dot_product_attention(*parts, attn_mask=keep, is_causal=causal).to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=keep, is_causal=causal)


@dataclass(frozen=True, slots=True)
class Memory:
    """What one layer reads of the sources: *keys*, *values* [R, H, S, E]; *keep* [R, 1, 1, S], None where all rows have
    length S."""

    keys: Tensor
    values: Tensor
    keep: Tensor | None

    def rows(self, index: Tensor) -> Memory:
        """Those of some rows."""
        return Memory(self.keys[index], self.values[index], None if self.keep is None else self.keep[index])


class Reads(Protocol):
    """How one layer's positions attend; queries, keys and values lie flat [N, H, E]."""

    def own(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """To the target so far: [N, H, E]."""
        ...

    def across(self, query: Tensor) -> Tensor:
        """To the source: [N, H, E]."""
        ...


class AllPositions:
    """Every position of the targets at once."""

    def __init__(self, targets: Rectangle, memory: Memory) -> None:
        self.targets, self.memory = targets, memory

    def own(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Causal attention within each row. What stands behind a row's end comes after all that is real."""
        spread = (self._spread(part) for part in (query, key, value))
        return self._gather(attention(*spread, causal=True), len(query))

    def across(self, query: Tensor) -> Tensor:
        """Attention to the row's source."""
        found = attention(self._spread(query), self.memory.keys, self.memory.values, self.memory.keep)
        return self._gather(found, len(query))

    def _spread(self, flat_NHE: Tensor) -> Tensor:
        return self.targets.spread(flat_NHE[: self.targets.total]).transpose(1, 2)

    def _gather(self, found_RHLE: Tensor, places: int) -> Tensor:
        flat = self.targets.gather(found_RHLE.transpose(1, 2))
        return F.pad(flat, (0, 0, 0, 0, 0, places - len(flat)))


class NextPosition:
    """One further position of K continuations of each row; keeps the keys and values of those before it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def own(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention to all positions so far, this one included."""
        key, value = key.unsqueeze(2), value.unsqueeze(2)
        self.keys = key if self.keys is None else torch.cat([self.keys, key], dim=2)
        self.values = value if self.values is None else torch.cat([self.values, value], dim=2)
        return attention(query.unsqueeze(2), self.keys, self.values).squeeze(2)

    def across(self, query: Tensor) -> Tensor:
        """Attention to the row's source, which all K read from one place."""
        rows, (places, heads, width) = len(self.memory.keys), query.shape
        query_RHKE = query.view(rows, places // rows, heads, width).transpose(1, 2)
        found = attention(query_RHKE, self.memory.keys, self.memory.values, self.memory.keep)
        return found.transpose(1, 2).reshape(places, heads, width)

    def select(self, index: Tensor) -> None:
        """Go on from continuations `index`, in that order."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)


class DecoderLayer(nn.Module):
    """Attention to the target so far, attention to the source, feed-forward; each added to what came in."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        size = shape.hidden_size
        self.heads = shape.heads
        self.own_norm = nn.LayerNorm(size)
        self.own_qkv = Linear(size, 3 * size)
        self.own_output = Linear(size, size)
        self.across_norm = nn.LayerNorm(size)
        self.across_query = Linear(size, size)
        self.across_key_value = Linear(shape.memory_size, 2 * size)
        self.across_output = Linear(size, size)
        self.inner_norm = nn.LayerNorm(size)
        self.intermediate = Linear(size, shape.intermediate_size)
        self.output = Linear(shape.intermediate_size, size)
        self.dropout = Dropout(shape.dropout)

    def remember(self, memory_MP: Tensor, sources: Rectangle) -> Memory:
        """Keys and values of the sources, computed once."""
        parts = self.across_key_value(rounded(memory_MP))[: len(memory_MP)]
        spread = sources.spread(parts.view(len(memory_MP), 2, self.heads, -1))
        keys, values = spread.permute(2, 0, 3, 1, 4).unbind(0)
        keep = None if sources.keep_RL is None else sources.keep_RL[:, None, None]
        return Memory(keys, values, keep)

    def forward(self, hidden_ND: Tensor, reads: Reads) -> Tensor:
        """*Shape*: [N, D] -> [N, D]."""
        places, size = hidden_ND.shape
        split = (self.heads, size // self.heads)
        query, key, value = self.own_qkv(self.own_norm(hidden_ND)).view(places, 3, *split).unbind(1)
        own_ND = reads.own(query, key, value).reshape(places, size)
        hidden_ND = hidden_ND + self.dropout(self.own_output(own_ND))
        query = self.across_query(self.across_norm(hidden_ND)).view(places, *split)
        across_ND = reads.across(query).reshape(places, size)
        hidden_ND = hidden_ND + self.dropout(self.across_output(across_ND))
        inner_NF = F.gelu(self.intermediate(self.inner_norm(hidden_ND)))
        return hidden_ND + self.dropout(self.output(inner_NF))


class Decoder(nn.Module):
    """Token embeddings, sinusoidal positions, layers, a last norm, and the output layer."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        assert shape.hidden_size % shape.heads == 0
        self.shape = shape
        self.begin = shape.vocab_size
        self.embedding = nn.Embedding(shape.vocab_size + 1, shape.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.layers))
        self.last_norm = nn.LayerNorm(shape.hidden_size)
        self.classifier = None if shape.tied else Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.bias_C = nn.Parameter(torch.zeros(shape.vocab_size))
        self.dropout = Dropout(shape.dropout)
        self.waves_LD: Tensor
        self.register_buffer("waves_LD", sinusoids(shape.positions, shape.hidden_size), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Glorot's uniform for layers; embeddings such that their sum with positions and their product with the last
        norm's output both have deviations near 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.embedding.weight, std=self.shape.hidden_size**-0.5)

    def forward(self, ids_N: Tensor, cu: Tensor, memory_MP: Tensor, memory_cu: Tensor) -> Tensor:
        """Logits [N, C] in fp32 of every token of the targets, each from those before it (teacher forcing).

        *cu*, *memory_cu* [R+1]: where each row's target and source begin; no row is empty."""
        targets, sources = Rectangle(cu), Rectangle(memory_cu)
        before_N = ids_N.roll(1).index_fill(0, cu[:-1], self.begin)
        hidden_ND = rounded(self._embed(before_N, targets.positions_N))
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            hidden_ND = layer(hidden_ND, AllPositions(targets, layer.remember(memory_MP, sources)))
        return self._logits(hidden_ND[: targets.total])

    def continuation(self, memory_MP: Tensor, memory_cu: Tensor) -> Continuation:
        """The state of writing a target for every row, one token after the other."""
        sources = Rectangle(memory_cu)
        return Continuation(self, [layer.remember(memory_MP, sources) for layer in self._layers()])

    def advance(self, ids_N: Tensor, position: int, reads: Sequence[Reads]) -> Tensor:
        """Logits [N, C] of what comes after `ids` [N], all of which stand at one position."""
        hidden_ND = self._embed(ids_N, torch.full_like(ids_N, position))
        for layer, own in zip(self._layers(), reads, strict=True):
            hidden_ND = layer(hidden_ND, own)
        return self._logits(hidden_ND)

    def _layers(self) -> list[DecoderLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _embed(self, ids_N: Tensor, positions_N: Tensor) -> Tensor:
        scaled_ND = self.embedding(ids_N) * math.sqrt(self.shape.hidden_size)
        return self.dropout(scaled_ND + self.waves_LD[positions_N])

    def _logits(self, hidden_ND: Tensor) -> Tensor:
        weight_CD = self.embedding.weight[: self.begin] if self.classifier is None else self.classifier.weight
        hidden_ND = self.last_norm(hidden_ND)
        # Over thousands of tokens, probabilities need more bits than bfloat16 has.
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return F.linear(hidden_ND.float(), weight_CD.float(), self.bias_C.float())


class Continuation:
    """Rows that are being written: K continuations of each, with what their next tokens are predicted from."""

    def __init__(self, decoder: Decoder, memories: Sequence[Memory]) -> None:
        self.decoder = decoder
        self.reads = [NextPosition(memory) for memory in memories]
        self.position = 0
        self.beams = 1

    def step(self, ids_RK: Tensor) -> Tensor:
        """Logits [R, K, C] of what comes after `ids` [R, K]; the first call fixes K. The ids of the first call are
        begin symbols."""
        rows, self.beams = ids_RK.shape
        logits_NC = self.decoder.advance(ids_RK.flatten(), self.position, self.reads)
        self.position += 1
        return logits_NC.view(rows, self.beams, -1)

    def reorder(self, parents_RK: Tensor) -> None:
        """Go on, as continuation k of each row, from what was its continuation `parents[k]`."""
        first_R = torch.arange(len(parents_RK), device=parents_RK.device) * self.beams
        index = (first_R[:, None] + parents_RK).flatten()
        for read in self.reads:
            read.select(index)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows only."""
        beams = torch.arange(self.beams, device=rows.device)
        index = (rows[:, None] * self.beams + beams).flatten()
        for read in self.reads:
            read.select(index)
            read.memory = read.memory.rows(rows)
