"""The packed batch: rows laid end to end, no padding.

Shape legend: T tokens of the batch, B rows, P places of all attention blocks, W owned units (words) of the batch, R
rows that carry a task's label, N target values of those rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """One task's targets in a batch.

    *rows* [R]: which rows of the batch have a label, ascending. *values*: key -> flat [N]; *cu*: key -> [R+1]
    offsets into it. *count*: what the task's loss is divided by (rows, words, ...), for this batch alone.
    *examples* [R]: equal for rows of one example (its windows, options, ...), counted from 0 without gaps. *counts*
    [R]: what each row adds to *count*; None: 1.
    """

    rows: Tensor
    values: dict[str, Tensor]
    cu: dict[str, Tensor]
    count: int
    examples: Tensor
    counts: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Rows of similar length that one attention call handles on machines without varlen kernels.

    *tokens* [n]: the batch's tokens of these rows, row after row; *start*: the first of them where they stand in the
    batch just so, that a slice does instead of a gather; else None. *keep* [b, L] bool: False at padding; None where
    all rows have length L. *places* [n]: where each token stands in the flattened [b * L]. *rows*, *longest*: b, L.
    """

    tokens: Tensor
    places: Tensor
    keep: Tensor | None
    start: int | None
    rows: int
    longest: int


@dataclass(frozen=True, slots=True)
class Batch:
    """*ids*, *positions*, *segments* [T]; *cu_seqlens* [B+1] int32; *words* [W]: the token of each owned unit's first
    piece; *cu_words* [B+1]; *origins*: (group, row) of each row; *blocks*: how attention is laid out; *restore* [T]:
    from the order of the blocks' tokens back to the batch's, None where these are the same; *spread* [P], *places*
    [T]: the token at each place of all blocks, laid end to end with their padding (there a row's first token), and
    the place of each token; None where places are tokens."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    cu_seqlens: Tensor
    max_length: int
    words: Tensor
    cu_words: Tensor
    blocks: tuple[AttentionBlock, ...] = ()
    restore: Tensor | None = None
    spread: Tensor | None = None
    places: Tensor | None = None
    targets: dict[str, Targets] = field(default_factory=dict)
    origins: tuple[tuple[int, int], ...] = ()
    real: Tensor | None = None
    """[B, L] bool, where rows are no packed ones but a rectangle, padding and all, as a graph for export has them
    (`braid.data.packing.rectangle`); `words` then has equally many of each row too."""

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
                replace(
                    block,
                    tokens=move(block.tokens),
                    places=move(block.places),
                    keep=None if block.keep is None else move(block.keep),
                )
                for block in self.blocks
            ),
            restore=None if self.restore is None else move(self.restore),
            spread=None if self.spread is None else move(self.spread),
            places=None if self.places is None else move(self.places),
            targets={
                name: Targets(
                    rows=move(target.rows),
                    values={key: move(value) for key, value in target.values.items()},
                    cu={key: move(value) for key, value in target.cu.items()},
                    count=target.count,
                    examples=move(target.examples),
                    counts=None if target.counts is None else move(target.counts),
                )
                for name, target in self.targets.items()
            },
            origins=self.origins,
        )

    def __iter__(self) -> Iterator[slice]:
        """Each row's slice of the token dimension."""
        bounds = self.cu_seqlens.tolist()
        return (slice(a, b) for a, b in pairwise(bounds))
