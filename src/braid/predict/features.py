"""Features of texts: hidden states of any layer, of every token or pooled, streaming.

Shape legend: T tokens of a batch, B rows, n texts, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from braid.data.cache import TokenRows, record_batch
from braid.data.example import Example
from braid.data.groups import GroupData, make_batch
from braid.data.plan import fill_by_tokens
from braid.data.tokens import Tokenizer
from braid.data.windows import WindowOptions, tokenise
from braid.errors import BraidError, did_you_mean
from braid.model.network import BraidModel
from braid.model.precision import autocast
from braid.nn.pooling import Pooler
from braid.predict.inputs import chunked
from braid.predict.vectors import CHUNK, FeaturePooling, OfTokens, Pooled, Pooling, TokenFeatures
from braid.tasks.base import Hidden


@dataclass(frozen=True)
class Reader:
    """A network with what its texts are read by."""

    network: BraidModel
    tokenizer: Tokenizer
    max_length: int
    stride: int
    batch_tokens: int
    device: torch.device
    precision: Literal["fp32", "bf16"]

    def rows(self, examples: Sequence[Example]) -> TokenRows:
        """One row of tokens for each text (with its pair), cut where too long."""
        options = WindowOptions(max_length=self.max_length, stride=self.stride)
        return TokenRows([record_batch(0, list(tokenise(examples, self.tokenizer, options)))])

    def read(self, examples: Sequence[Example], rows: TokenRows) -> Iterator[tuple[list[int], Hidden]]:
        """Batches of similar length: the numbers of their texts, and hidden states that may not be kept for
        training."""
        group = GroupData((), examples, rows, "none")
        order = sorted(rows, key=lambda row: -int(rows.lengths[row]))
        for pick in fill_by_tokens([int(rows.lengths[row]) for row in order], self.batch_tokens):
            batch = make_batch([group], [(0, order[k]) for k in pick]).to(self.device)
            with torch.inference_mode(), autocast(self.precision, self.device):
                yield [row for _, row in batch.origins], self.network.encoded(batch)


Pool = Callable[[Hidden, Tensor], Tensor]
"""Hidden states and rows [R] of their batch -> vectors [R, D']."""


def layer_states(hidden: Hidden, layer: int) -> Tensor:
    """Hidden states [T, D] of a layer: 0 the embeddings, -1 the last. Raises BraidError where there are none."""
    return hidden.last if layer in (-1, len(hidden.layers) - 1) else hidden.layers[layer]


def check_layer(network: BraidModel, layer: int) -> int:
    """Raises BraidError for a layer that the encoder does not have."""
    count = network.encoder.n_states
    if not -count <= layer < count:
        raise BraidError(
            f"layer {layer}: there are {count - 1} layers; 0 is the embeddings, {count - 1} or -1 the last, "
            f"-{count} the embeddings again"
        )
    return layer


def pooling_of(network: BraidModel, *, task: str | None, layer: int | None, pooling: str | None) -> tuple[str, Pool]:
    """How texts become vectors, and what that is called. Without *layer* and *pooling*: as the `similarity` task *task*
    (None: the first one) does, or the mean of the last layer where there is none.

    Raises BraidError for what does not go together or is not there."""
    heads = {name: head for name, head in network.heads() if hasattr(head, "embed")}
    if task is not None and (layer is not None or pooling is not None):
        raise BraidError(f"task {task!r} pools in its own way: give either a task, or a layer and a pooling")
    if task is not None and task not in heads:
        raise BraidError(f"task {task!r} makes no embeddings; those that do: {', '.join(heads) or 'none'}")
    if heads and layer is None and pooling is None:
        name = task or next(iter(heads))
        head: Any = heads[name]
        return f"task {name}", lambda hidden, rows: head.embed(head.mixed(hidden), rows)
    kind = pooling or "mean"
    if kind not in get_args(FeaturePooling):
        raise BraidError(f"pooling {kind!r}: {did_you_mean(kind, get_args(FeaturePooling))}")
    chosen = check_layer(network, -1 if layer is None else layer)
    pool = Pooler(kind, network.encoder.hidden_size)  # type: ignore[arg-type]
    count = network.encoder.n_states
    return f"{kind} of layer {chosen % count}", lambda hidden, rows: pool(
        layer_states(hidden, chosen), hidden.batch, rows
    )


def vectors_of(reader: Reader, **options: Any) -> tuple[str, Pooling]:
    """What makes one vector of each text, streaming, and what these are called. Options: those of `pooling_of`, and
    what it raises."""
    of, pool = pooling_of(reader.network, **options)
    return of, lambda examples: pooled(reader, examples, pool)


def pooled(reader: Reader, examples: Iterable[Example], pool: Pool, *, chunk: int = CHUNK) -> Iterator[Pooled]:
    """Vectors of texts in their order, some at a time: memory does not grow with their number."""
    for some in chunked(examples, chunk):
        rows = reader.rows(some)
        found: dict[int, np.ndarray] = {}
        for numbers, hidden in reader.read(some, rows):
            with torch.inference_mode(), autocast(reader.precision, reader.device):
                vectors_BD = pool(hidden, torch.arange(hidden.batch.n_rows, device=reader.device))
            found.update(zip(numbers, vectors_BD.float().cpu().numpy(), strict=True))
        yield Pooled(some, np.stack([found[k] for k in range(len(some))]), int(rows.truncated.sum()))


def of_tokens(reader: Reader, examples: Iterable[Example], *, layer: int, chunk: int = CHUNK) -> Iterator[OfTokens]:
    """Hidden states of every token of texts (a pair's behind its text's, with offsets in the pair), in their order."""
    template = reader.tokenizer.template
    around = np.concatenate([template.prefix, template.suffix, template.middle, template.end])
    for some in chunked(examples, chunk):
        rows = reader.rows(some)
        found: dict[int, TokenFeatures] = {}
        for numbers, hidden in reader.read(some, rows):
            states_TD = layer_states(hidden, layer).float().cpu().numpy()
            for number, place in zip(numbers, hidden.batch, strict=True):
                ids = rows.column("ids", number)
                kept = ~np.isin(ids, around)
                found[number] = TokenFeatures(
                    tokens=tuple(reader.tokenizer.tokens(ids[kept].tolist())),
                    offsets=rows.column("offsets", number).reshape(-1, 2)[kept],
                    vectors=states_TD[place][kept],
                )
        yield OfTokens(some, [found[k] for k in range(len(some))], int(rows.truncated.sum()))
