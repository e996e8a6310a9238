"""Self-attention over packed rows: no row ever attends to another.

Shape legend: T tokens of the batch, H heads, E size of a head, b rows of a block, L its longest row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.batch import AttentionBlock, Batch


def attend(qkv_T3HE: Tensor, batch: Batch, *, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.1) within each row: [T, H, E].

    On a GPU in half precision the varlen kernel reads the packed rows as they are; elsewhere rows of similar length
    go together through SDPA. *dropout*: on the attention weights; the fast CPU kernel has none, so anything above 0
    is slow there."""
    if qkv_T3HE.is_cuda and qkv_T3HE.dtype in (torch.float16, torch.bfloat16) and dropout == 0.0:
        return _varlen(qkv_T3HE, batch)
    if qkv_T3HE.device.type == "cpu" and qkv_T3HE.dtype == torch.bfloat16 and qkv_T3HE.requires_grad:
        # The backward pass of the CPU's flash kernel is several times slower in bf16 than in fp32.
        with torch.autocast("cpu", enabled=False):
            return _in_blocks(qkv_T3HE.float(), batch, dropout).to(qkv_T3HE.dtype)
    return _in_blocks(qkv_T3HE, batch, dropout)


def _in_blocks(qkv_T3HE: Tensor, batch: Batch, dropout: float) -> Tensor:
    """Attention block by block: [T, 3, H, E] -> [T, H, E]."""
    in_order_T3HE = qkv_T3HE
    if batch.restore is not None:
        in_order_T3HE = qkv_T3HE.index_select(0, torch.cat([block.tokens for block in batch.blocks]))
    # One split, not a slice a block: its backward is one concatenation instead of a sum of T-sized zeros.
    rows = in_order_T3HE.split([len(block.tokens) for block in batch.blocks])
    parts = [_block(part, block, dropout) for part, block in zip(rows, batch.blocks, strict=True)]
    joined = parts[0] if len(parts) == 1 else torch.cat(parts)
    return joined if batch.restore is None else joined.index_select(0, batch.restore)


def _varlen(qkv_T3HE: Tensor, batch: Batch) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (part.contiguous() for part in qkv_T3HE.unbind(1))
    out = varlen_attn(query, key, value, batch.cu_seqlens, batch.cu_seqlens, batch.max_length, batch.max_length)
    assert isinstance(out, Tensor)
    return out


def _block(rows: Tensor, block: AttentionBlock, dropout: float) -> Tensor:
    """Attention of one block: [n, 3, H, E] -> [n, H, E], both in the order of `block.tokens`."""
    _, three, heads, width = rows.shape
    if block.keep is not None:
        empty = rows.new_zeros(block.rows * block.longest, three, heads, width)
        rows = empty.index_copy(0, block.places, rows)
    query, key, value = rows.view(block.rows, block.longest, three, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    mask = None if block.keep is None else block.keep[:, None, None, :]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    flat = out.transpose(1, 2).reshape(block.rows * block.longest, heads, width)
    return flat if block.keep is None else flat.index_select(0, block.places)
