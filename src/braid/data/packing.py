"""Rows of tokens -> a packed `Batch`: laid end to end, shortest first, with the layout for attention.

Shape legend: T tokens, B rows, b rows of one attention block, L its longest row.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from braid.data.batch import AttentionBlock, Batch, Targets

WASTE = 0.25
"""Padding that one attention block may hold, as a share of its real tokens. Attention is a small part of an
encoder's work on short rows, so a few padded places cost less than one more kernel call."""


SHAPES = ((128, 16), (256, 32), (512, 64))
"""Where shapes are to be few, rows up to so many places are rounded up to a multiple of so many."""


def layout(
    lengths: Sequence[int] | np.ndarray, *, waste: float = WASTE, few_shapes: bool = False
) -> tuple[AttentionBlock, ...]:
    """Blocks of rows of similar length, covering every row once. Rows that stand in order of length make
    contiguous blocks; a block of equal lengths needs no padding at all. *few_shapes*: blocks are of few lengths, for
    kernels that are compiled for each shape."""
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(sizes) else sizes
    order = np.argsort(sizes, kind="stable")
    longest = [_rounded(int(size)) if few_shapes else int(size) for size in sizes[order]]
    blocks: list[AttentionBlock] = []
    first = 0
    while first < len(order):
        last, real = first, 0
        while last < len(order):
            total = real + int(sizes[order[last]])
            if longest[last] > longest[first] and longest[last] * (last - first + 1) > total * (1 + waste):
                break
            real, last = total, last + 1
        blocks.append(_block(order[first:last], sizes, starts, longest[last - 1]))
        first = last
    return tuple(blocks)


def _rounded(size: int) -> int:
    multiple = next((multiple for most, multiple in SHAPES if size <= most), 1)
    return size + -size % multiple


def _block(rows: np.ndarray, sizes: np.ndarray, starts: np.ndarray, longest: int) -> AttentionBlock:
    lengths = sizes[rows]
    places = np.arange(longest)
    keep = places[None, :] < lengths[:, None]
    index = starts[rows][:, None] + np.where(keep, places[None, :], 0)
    tokens = index[keep]
    contiguous = len(tokens) == int(tokens[-1]) - int(tokens[0]) + 1 and bool(np.all(np.diff(tokens) == 1))
    return AttentionBlock(
        tokens=torch.from_numpy(tokens),
        places=torch.from_numpy(np.flatnonzero(keep)),
        keep=None if lengths[0] == longest else torch.from_numpy(keep),
        start=int(tokens[0]) if contiguous else None,
        rows=len(rows),
        longest=longest,
    )


def restoring(blocks: Sequence[AttentionBlock]) -> Tensor | None:
    """The permutation from the blocks' order of tokens to the batch's; None where it changes nothing."""
    if not blocks:
        return None
    order = torch.cat([block.tokens for block in blocks])
    if torch.equal(order, torch.arange(len(order))):
        return None
    return torch.argsort(order)


def spreading(blocks: Sequence[AttentionBlock]) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """A batch's `spread` and `places`."""
    tokens = sum(len(block.tokens) for block in blocks)
    places = np.zeros(tokens, np.int64)
    spread = []
    first = 0
    for block in blocks:
        at = block.places.numpy()
        places[block.tokens.numpy()] = first + at
        here = np.zeros(block.rows * block.longest, np.int64)
        here[at] = block.tokens.numpy()
        if block.keep is not None:  # padding is a row's own first token: not even what is no number goes elsewhere
            grid = here.reshape(block.rows, block.longest)
            here = np.where(block.keep.numpy(), grid, grid[:, :1]).reshape(-1)
        spread.append(here)
        first += len(here)
    if first == tokens and np.array_equal(places, np.arange(tokens)):
        return None, None
    return torch.from_numpy(np.concatenate(spread)), torch.from_numpy(places)


def rectangle(ids_BL: Tensor, segments_BL: Tensor, real_BL: Tensor, words_BW: Tensor) -> Batch:
    """Padded rows as a batch whose sizes may be symbols of a traced graph. *real*: False at padding, which stands
    behind a row's end; *words*: the token of each unit of a row, counted within it. What comes out at padding, and
    for words that a row does not have, means nothing."""
    rows, longest = ids_BL.shape
    starts_B1 = torch.arange(rows, device=ids_BL.device)[:, None] * longest
    tokens_T = torch.arange(rows * longest, device=ids_BL.device)
    places_BL = torch.arange(longest, device=ids_BL.device).expand(rows, longest)
    return Batch(
        ids=ids_BL.reshape(-1),
        positions=places_BL.reshape(-1),
        segments=segments_BL.reshape(-1),
        cu_seqlens=torch.arange(rows + 1, device=ids_BL.device) * longest,
        max_length=longest,
        words=(words_BW + starts_B1).reshape(-1),
        cu_words=torch.arange(rows + 1, device=ids_BL.device) * words_BW.shape[1],
        blocks=(AttentionBlock(tokens_T, tokens_T, real_BL, 0, rows, longest),),
        real=real_BL,
    )


def pad_fraction(batch: Batch) -> float:
    """Share of places in attention that hold no real token (linear layers hold none at all)."""
    places = sum(block.rows * block.longest for block in batch.blocks)
    return 1 - batch.n_tokens / places if places else 0.0


def pack(
    ids: Sequence[np.ndarray],
    segments: Sequence[np.ndarray],
    unit_tokens: Sequence[np.ndarray] | None = None,
    *,
    targets: Mapping[str, Targets] | None = None,
    origins: Sequence[tuple[int, int]] = (),
    few_shapes: bool = False,
) -> Batch:
    """Lay rows end to end in the order given. *unit_tokens*: per row the places of its owned units' first pieces;
    *few_shapes*: as in `layout`."""
    sizes = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    total = int(bounds[-1])
    positions = np.arange(total) - np.repeat(bounds[:-1], sizes)
    units = unit_tokens if unit_tokens is not None else [np.empty(0, np.int64)] * len(ids)
    unit_sizes = np.fromiter((len(row) for row in units), dtype=np.int64, count=len(ids))
    blocks = layout(sizes, few_shapes=few_shapes)
    spread, places = spreading(blocks)
    words = np.concatenate(units) + np.repeat(bounds[:-1], unit_sizes) if len(ids) else np.empty(0)
    return Batch(
        ids=_long(np.concatenate(ids) if len(ids) else np.empty(0)),
        positions=_long(positions),
        segments=_long(np.concatenate(segments) if len(ids) else np.empty(0)),
        cu_seqlens=torch.from_numpy(bounds.astype(np.int32)),
        max_length=int(sizes.max(initial=0)),
        words=_long(words),
        cu_words=_long(np.concatenate(([0], np.cumsum(unit_sizes)))),
        blocks=blocks,
        restore=restoring(blocks),
        spread=spread,
        places=places,
        targets=dict(targets or {}),
        origins=tuple(origins),
    )


def pack_ids(
    rows: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None, *, few_shapes: bool = False
) -> Batch:
    """A batch of bare token rows (without segments: all 0)."""
    ids = [np.asarray(row, dtype=np.int64) for row in rows]
    types = [np.zeros(len(row), np.int64) for row in rows] if segments is None else [np.asarray(s) for s in segments]
    return pack(ids, types, few_shapes=few_shapes)


def pack_targets(
    rows: Sequence[int],
    targets: Sequence[Mapping[str, np.ndarray]],
    *,
    count: int,
    examples: Sequence[Hashable] | None = None,
    counts: Sequence[int] | None = None,
) -> Targets:
    """Targets of the batch rows `rows` (ascending), each a mapping of named 1-D arrays with the same names.
    *examples*: what tells rows of one example from those of another; None: each row is an example."""
    values: dict[str, Tensor] = {}
    offsets: dict[str, Tensor] = {}
    for key in targets[0] if targets else ():
        parts = [np.asarray(target[key]) for target in targets]
        flat = np.concatenate(parts)
        values[key] = torch.from_numpy(flat.astype(np.float32 if flat.dtype.kind == "f" else np.int64))
        offsets[key] = _long(np.concatenate(([0], np.cumsum([len(part) for part in parts]))))
    numbers: dict[Hashable, int] = {}
    names = range(len(rows)) if examples is None else examples
    dense = [numbers.setdefault(name, len(numbers)) for name in names]
    return Targets(
        rows=_long(np.asarray(rows)),
        values=values,
        cu=offsets,
        count=count,
        examples=_long(np.asarray(dense)),
        counts=None if counts is None else _long(np.asarray(counts)),
    )


def select_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some rows (ascending) of a batch as a batch of their own, without targets, on the same device."""
    device, bounds = batch.ids.device, batch.cu_seqlens.tolist()
    ids, segments, words = (values.cpu().numpy() for values in (batch.ids, batch.segments, batch.words))
    cu_words = batch.cu_words.tolist()
    units = [words[cu_words[row] : cu_words[row + 1]] - bounds[row] for row in rows]
    slices = [slice(bounds[row], bounds[row + 1]) for row in rows]
    origins = [batch.origins[row] for row in rows] if batch.origins else []
    packed = pack([ids[part] for part in slices], [segments[part] for part in slices], units, origins=origins)
    return packed.to(device)


def _long(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
