"""Attention that is to be learned from, on a CPU: batched matrix products with a backward pass of their own.

The CPU's flash kernel needs several times longer backward than these products, and none of them in half precision; rows
here are short enough that the attention weights can be kept.

Shape legend: T tokens (and what they are rounded up to), P places of all blocks, b rows of a block, L its longest row,
H heads, E size of a head, N = b x H.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from braid.data.batch import AttentionBlock, Batch
from braid.nn.dropout import mask

LONGEST = 512
"""Rows up to which the weights, L x L for every head, are kept."""


def attend_by_products(qkv_T3HE: Tensor, batch: Batch, masks: Sequence[Tensor | None], *, dropout: float) -> Tensor:
    """Scaled dot-product attention within each row: [T, 3, H, E] -> [T, H, E]; what stands behind the batch's last
    token is zero. *masks*: what the places of each block see, bool [b or 1, 1, L or 1, L]; None: all. *dropout*: of
    attention weights."""
    attended: Tensor = _Products.apply(qkv_T3HE, batch, tuple(masks), dropout)
    return attended


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_T3HE: Tensor, batch: Batch, masks: Sequence[Tensor | None], dropout: float) -> Tensor:
        heads, size = qkv_T3HE.shape[2:]
        tokens = batch.n_tokens
        qkv_P3HE = qkv_T3HE[:tokens] if batch.spread is None else qkv_T3HE.index_select(0, batch.spread)
        context_PHE = qkv_T3HE.new_empty(len(qkv_P3HE), heads, size)
        kept: list[Tensor] = []
        ctx.batch, ctx.dropout, ctx.shape = batch, dropout, qkv_T3HE.shape
        with torch.autocast(qkv_T3HE.device.type, enabled=False):
            for (block, part), seen in zip(_parts(batch), masks, strict=True):
                rows, longest = block.rows, block.longest
                split = qkv_P3HE[part].view(rows, longest, 3, heads, size)
                qkv_3NLE = split.permute(2, 0, 3, 1, 4).reshape(3, rows * heads, longest, size)
                query_NLE, key_NLE, value_NLE = qkv_3NLE.unbind(0)
                scores_NLL = qkv_T3HE.new_empty(rows * heads, longest, longest)
                scores_NLL.baddbmm_(query_NLE, key_NLE.mT, beta=0, alpha=size**-0.5)
                if seen is not None:
                    unseen = torch.zeros(seen.shape, dtype=scores_NLL.dtype).masked_fill_(~seen, -torch.inf)
                    scores_NLL.view(rows, heads, longest, longest).add_(unseen)
                weights_NLL = scores_NLL.softmax(dim=-1)
                kept += [qkv_3NLE, weights_NLL]
                if dropout:
                    kept.append(mask(weights_NLL.shape, weights_NLL.dtype, dropout))
                    weights_NLL = weights_NLL * kept[-1]
                context_NLE = torch.bmm(weights_NLL, value_NLE)
                target = context_PHE[part].view(rows, longest, heads, size)
                target.copy_(context_NLE.view(rows, heads, longest, size).transpose(1, 2))
        ctx.save_for_backward(*kept)
        return _back(context_PHE, batch, len(qkv_T3HE))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        batch, dropout = ctx.batch, ctx.dropout
        full, _, heads, size = ctx.shape
        gradient_THE = gradients[0]
        gradient_PHE = gradient_THE if batch.spread is None else gradient_THE.index_select(0, batch.spread)
        found_P3HE = gradient_THE.new_empty(_parts_end(batch), 3, heads, size)
        saved = iter(ctx.saved_tensors)
        for block, part in _parts(batch):
            rows, longest = block.rows, block.longest
            qkv_3NLE, weights_NLL = next(saved), next(saved)
            dropped = next(saved) if dropout else None
            query_NLE, key_NLE, value_NLE = qkv_3NLE.unbind(0)
            split = gradient_PHE[part].view(rows, longest, heads, size).transpose(1, 2)
            gradient_NLE = split.reshape(rows * heads, longest, size)
            if block.keep is not None:  # what stands at padding is another token's
                gradient_NLE.view(rows, heads, longest, size).mul_(block.keep[:, None, :, None])
            found_3NLE = torch.empty_like(qkv_3NLE)
            used_NLL = weights_NLL if dropped is None else weights_NLL * dropped
            torch.bmm(used_NLL.mT, gradient_NLE, out=found_3NLE[2])
            change_NLL = torch.bmm(gradient_NLE, value_NLE.mT)
            if dropped is not None:
                change_NLL.mul_(dropped)
            change_NLL = torch._softmax_backward_data(change_NLL, weights_NLL, -1, weights_NLL.dtype)
            found_3NLE[0].baddbmm_(change_NLL, key_NLE, beta=0, alpha=size**-0.5)
            found_3NLE[1].baddbmm_(change_NLL.mT, query_NLE, beta=0, alpha=size**-0.5)
            target = found_P3HE[part].view(rows, longest, 3, heads, size)
            target.copy_(found_3NLE.view(3, rows, heads, longest, size).permute(1, 3, 0, 2, 4))
        return _back(found_P3HE, batch, full), None, None, None


def _back(values_P: Tensor, batch: Batch, full: int) -> Tensor:
    """From places to tokens, and zeros behind them."""
    tokens = batch.n_tokens
    if batch.places is None and full == tokens:
        return values_P
    out = values_P.new_empty(full, *values_P.shape[1:])
    if batch.places is None:
        out[:tokens] = values_P
    else:
        torch.index_select(values_P, 0, batch.places, out=out[:tokens])
    out[tokens:] = 0
    return out


def _parts(batch: Batch) -> Iterator[tuple[AttentionBlock, slice]]:
    """Each block and where its places stand among those of all."""
    first = 0
    for block in batch.blocks:
        part = slice(first, first + block.rows * block.longest)
        yield block, part
        first = part.stop


def _parts_end(batch: Batch) -> int:
    return sum(block.rows * block.longest for block in batch.blocks)
