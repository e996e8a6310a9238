"""The packed batch: rows laid end to end, no padding.

Shape legend: T tokens of the batch, B rows, W owned units (words) of the batch, R rows that carry a
task's label, N target values of those rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """One task's targets in a batch.

    *rows* [R]: which rows of the batch have a label, ascending. *values*: key -> flat [N]; *cu*: key -> [R+1]
    offsets into it. *count*: what the task's loss is divided by (rows, words, ...), for this batch alone.
    """

    rows: Tensor
    values: dict[str, Tensor]
    cu: dict[str, Tensor]
    count: int


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Rows of similar length that one attention call handles on machines without varlen kernels.

    *index* [b, L]: token of the batch at each place (padding repeats token 0 of its row); *keep* [b, L] bool: False
    at padding; None where all rows have length L. *start*: the first token where the rows stand next to each
    other without padding, so that a view does instead of a gather; else None. *tokens* [sum of lengths]: the
    batch's tokens in the order of `keep`.
    """

    index: Tensor
    keep: Tensor | None
    start: int | None
    tokens: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """*ids*, *positions*, *segments* [T]; *cu_seqlens* [B+1] int32; *words* [W]: the token of each owned unit's first
    piece; *cu_words* [B+1]; *origins*: (group, row) of each row; *blocks*: how attention is laid out."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    cu_seqlens: Tensor
    max_length: int
    words: Tensor
    cu_words: Tensor
    blocks: tuple[AttentionBlock, ...] = ()
    targets: dict[str, Targets] = field(default_factory=dict)
    origins: tuple[tuple[int, int], ...] = ()

    @property
    def n_tokens(self) -> int:
        """T: real tokens of the batch."""
        return self.ids.shape[0]

    @property
    def n_rows(self) -> int:
        """B: rows of the batch."""
        return self.cu_seqlens.shape[0] - 1

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            ids=move(self.ids),
            positions=move(self.positions),
            segments=move(self.segments),
            cu_seqlens=move(self.cu_seqlens),
            max_length=self.max_length,
            words=move(self.words),
            cu_words=move(self.cu_words),
            blocks=tuple(
                AttentionBlock(
                    index=move(block.index),
                    keep=None if block.keep is None else move(block.keep),
                    start=block.start,
                    tokens=move(block.tokens),
                )
                for block in self.blocks
            ),
            targets={
                name: Targets(
                    rows=move(target.rows),
                    values={key: move(value) for key, value in target.values.items()},
                    cu={key: move(value) for key, value in target.cu.items()},
                    count=target.count,
                )
                for name, target in self.targets.items()
            },
            origins=self.origins,
        )

    def __iter__(self) -> Iterator[slice]:
        """Each row's slice of the token dimension."""
        bounds = self.cu_seqlens.tolist()
        return (slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False))
