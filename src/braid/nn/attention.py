"""Self-attention over packed rows: no row ever attends to another.

Shape legend: T tokens of the batch, H heads, E size of a head, b rows of a block, L its longest row, c chunks of C
tokens each, P places of all blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.batch import AttentionBlock, Batch
from braid.nn.attention_products import LONGEST, attend_by_products

SMALLEST_CHUNK = 64
"""Local attention goes in chunks of at least so many tokens; smaller ones are more kernel than work."""


def attend(
    qkv_T3HE: Tensor,
    batch: Batch,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Sequence[Tensor] | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1) within each row: [T, H, E].

    On a GPU in half precision the varlen kernel reads the packed rows as they are; elsewhere rows of similar length
    go together through SDPA, or, where they are learned from, through plain products. What stands behind the batch's
    last token is left out or zero.
    *causal*: a token sees nothing that comes after it. *window*: it sees no further than `window // 2` tokens to either
    side (Longformer, arXiv 2004.05150). *bias*: [b or 1, H, L, L] of every block, added to the scores, minus infinity
    at padding. *dropout*: on the attention weights."""
    assert bias is None or not (causal or window), "a bias goes with neither a window nor a direction"
    exporting = torch.compiler.is_exporting()  # lengths are symbols then, and nothing may hang on them
    far = window is None or (not exporting and batch.max_length <= window // 2 + 1)
    reach = None if window is None or far else window // 2
    near = reach is None or exporting or _short(batch, reach)
    learning = qkv_T3HE.device.type == "cpu" and qkv_T3HE.requires_grad
    if learning and near and bias is None and batch.max_length <= LONGEST:
        seen = [_mask(block, causal, reach, whole=True) for block in batch.blocks]
        return attend_by_products(qkv_T3HE, batch, seen, dropout=dropout)
    qkv_T3HE = qkv_T3HE[: batch.n_tokens]
    half = qkv_T3HE.dtype in (torch.float16, torch.bfloat16)
    if qkv_T3HE.is_cuda and half and dropout == 0.0 and bias is None:
        return _varlen(qkv_T3HE, batch, causal=causal, reach=reach)
    way: Callable[[Tensor], Tensor]
    if near:
        masks = [_mask(block, causal, reach) for block in batch.blocks] if bias is None else bias
        way = partial(_in_blocks, batch=batch, masks=masks, causal=causal, dropout=dropout)
    else:
        assert reach is not None
        way = partial(_in_chunks, batch=batch, causal=causal, reach=reach, dropout=dropout)
    if learning and qkv_T3HE.dtype == torch.bfloat16:
        # The backward pass of the CPU's flash kernel is several times slower in bf16 than in fp32.
        with torch.autocast("cpu", enabled=False):
            return way(qkv_T3HE.float()).to(qkv_T3HE.dtype)
    return way(qkv_T3HE)


def _varlen(qkv_T3HE: Tensor, batch: Batch, *, causal: bool, reach: int | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (part.contiguous() for part in qkv_T3HE.unbind(1))
    side = -1 if reach is None else reach
    bounds, longest = batch.cu_seqlens, batch.max_length
    window = (side, 0 if causal else side)
    out = varlen_attn(query, key, value, bounds, bounds, longest, longest, window_size=window)
    assert isinstance(out, Tensor)
    return out


def _short(batch: Batch, reach: int) -> bool:
    """Whether rows are so short that all pairs of their tokens cost less than chunks with their neighbours, where a
    pair, measured on a CPU, costs twice as much."""
    pairs = sum(block.rows * block.longest**2 for block in batch.blocks)
    return pairs < 2 * 3 * max(reach, SMALLEST_CHUNK) * batch.n_tokens


def _in_blocks(
    qkv_T3HE: Tensor, batch: Batch, *, masks: Sequence[Tensor | None], causal: bool, dropout: float
) -> Tensor:
    """Attention block by block: [T, 3, H, E] -> [T, H, E]. *masks*: what each block's places see, or a bias."""
    spread_P3HE = qkv_T3HE if batch.spread is None else _Spread.apply(qkv_T3HE, batch.spread, batch.places)
    # One split, not a slice a block: its backward is one concatenation instead of a sum of P-sized zeros.
    rows = spread_P3HE.split([block.rows * block.longest for block in batch.blocks])
    parts = [
        _block(part, block, mask, causal=causal, dropout=dropout)
        for part, block, mask in zip(rows, batch.blocks, masks, strict=True)
    ]
    joined_PHE = parts[0] if len(parts) == 1 else torch.cat(parts)
    return joined_PHE if batch.spread is None else _Gathered.apply(joined_PHE, batch.spread, batch.places)


class _Spread(torch.autograd.Function):
    """[T, ...] -> [P, ...]: tokens to their places, anything (but no gradient) to padding. A row is fetched in either
    direction, which costs a fraction of adding rows up or of writing them where they belong."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, spread: Tensor, places: Tensor) -> Tensor:
        ctx.places = places
        return values.index_select(0, spread)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0].index_select(0, ctx.places), None, None


class _Gathered(torch.autograd.Function):
    """[P, ...] -> [T, ...]: tokens from their places. What stands at padding has no gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, spread: Tensor, places: Tensor) -> Tensor:
        ctx.spread, ctx.places = spread, places
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        spread, places = ctx.spread, ctx.places
        gradient = gradients[0].index_select(0, spread)
        if len(spread) > len(places):
            real = gradient.new_zeros(len(spread), *(1,) * (gradient.ndim - 1))
            real[places] = 1
            gradient *= real
        return gradient, None, None


def _mask(block: AttentionBlock, causal: bool, reach: int | None, *, whole: bool = False) -> Tensor | None:
    """What the places of a block see, [b or 1, 1, L or 1, L]; None: all, or all to the left, unless the *whole* mask is
    wanted."""
    # Padding stands behind a row's end, where no token looks that sees to the left only.
    keep = None if block.keep is None or causal else block.keep[:, None, None, :]
    whole_row = reach is None or (not torch.compiler.is_exporting() and block.longest <= reach + 1)
    if whole_row and not (causal and whole):
        return keep
    place = torch.arange(block.longest, device=block.tokens.device)
    distance = place - place[:, None]
    if reach is None or whole_row:
        return (distance <= 0)[None, None]
    near = _near(distance, causal, reach)[None, None]
    # Padding sees itself: a softmax of nothing is no number, and would be none in the gradients of what is real.
    return near if keep is None else (near & keep) | (distance == 0)


def _near(distance: Tensor, causal: bool, reach: int) -> Tensor:
    return (distance <= (0 if causal else reach)) & (distance >= -reach)


def _block(rows: Tensor, block: AttentionBlock, mask: Tensor | None, *, causal: bool, dropout: float) -> Tensor:
    """Attention of one block: [b * L, 3, H, E] -> [b * L, H, E]."""
    _, three, heads, width = rows.shape
    query, key, value = rows.view(block.rows, block.longest, three, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)
    # A mask of a causal block says already that nothing after a token is seen.
    causal = causal and mask is None
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)
    return out.transpose(1, 2).reshape(block.rows * block.longest, heads, width)


def _in_chunks(qkv_T3HE: Tensor, batch: Batch, *, causal: bool, reach: int, dropout: float) -> Tensor:
    """Local attention [T, 3, H, E] -> [T, H, E] in time linear in T: the batch is cut into chunks that are no shorter
    than the reach, wherever rows end, and each chunk's tokens look for those of their row in three chunks."""
    tokens, three, heads, width = qkv_T3HE.shape
    size = max(reach, SMALLEST_CHUNK)
    chunks = -(-tokens // size)
    behind = (chunks + 1) * size - tokens
    lengths_B = batch.cu_seqlens.diff()
    row_T = torch.arange(len(lengths_B), device=lengths_B.device).repeat_interleave(lengths_B, output_size=tokens)
    row_cC = F.pad(row_T, (size, behind), value=-1).view(chunks + 2, size)
    parts = F.pad(qkv_T3HE, (0, 0, 0, 0, 0, 0, size, behind)).view(chunks + 2, size, three, heads, width)
    query, key, value = parts[1:-1, :, 0], _neighbours(parts[:, :, 1]), _neighbours(parts[:, :, 2])
    place = torch.arange(3 * size, device=row_cC.device)
    near = _near(place - place[size : 2 * size, None], causal, reach)
    # Places without a token count as one row, so that they too see at least themselves.
    mask = (row_cC[1:-1, :, None] == _neighbours(row_cC)[:, None, :]) & near
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None], dropout_p=dropout)
    return out.transpose(1, 2).reshape(chunks * size, heads, width)[:tokens]


def _neighbours(parts: Tensor) -> Tensor:
    """[c + 2, C, ...] -> [c, 3C, ...]: each inner chunk between the one before and the one after it."""
    return torch.cat([parts[:-2], parts[1:-1], parts[2:]], dim=1)
