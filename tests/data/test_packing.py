"""Packing: rows end to end, the layout of attention covers every token once and no two rows share a place."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from braid.data.packing import layout, pack, pack_ids, pack_targets, pad_fraction


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_layout_covers_every_token_once(lengths: list[int]) -> None:
    tokens = torch.cat([block.tokens for block in layout(lengths)])
    assert sorted(tokens.tolist()) == list(range(sum(lengths)))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_every_row_of_a_block_is_one_row_of_the_batch(lengths: list[int]) -> None:
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    for block in layout(lengths):
        grid = np.full(block.rows * block.longest, -1)
        grid[block.places.numpy()] = row_of[block.tokens.numpy()]
        grid = grid.reshape(block.rows, block.longest)
        kept = np.ones_like(grid, bool) if block.keep is None else block.keep.numpy()
        assert ((grid >= 0) == kept).all()
        for line in grid:
            assert len(set(line[line >= 0].tolist())) == 1
        if block.start is not None:
            assert block.tokens.tolist() == list(range(block.start, block.start + len(block.tokens)))


def test_blocks_of_few_shapes_have_few_lengths() -> None:
    lengths = [1, 16, 17, 40, 100, 129, 250, 400, 800]
    assert {block.longest for block in layout(lengths, few_shapes=True)} == {16, 32, 48, 112, 160, 256, 448, 800}
    assert [block.rows for block in layout([30, 40, 17, 40, 31], few_shapes=True)] == [3, 2]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_the_order_of_the_blocks_can_be_undone(lengths: list[int]) -> None:
    batch = pack_ids([[k] * n for k, n in enumerate(lengths)])
    order = torch.cat([block.tokens for block in batch.blocks])
    assert torch.equal(order if batch.restore is None else order[batch.restore], torch.arange(sum(lengths)))
    assert pack_ids([[1] * n for n in sorted(lengths)]).restore is None


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_every_token_has_its_place_and_padding_is_of_the_same_row(lengths: list[int]) -> None:
    batch = pack_ids([[k] * n for k, n in enumerate(lengths)])
    row_of = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    places = sum(block.rows * block.longest for block in batch.blocks)
    if batch.spread is None or batch.places is None:
        assert places == sum(lengths)
        assert lengths == sorted(lengths)
        return
    assert len(batch.spread) == places
    assert torch.equal(batch.spread[batch.places], torch.arange(sum(lengths)))
    first = 0
    for block in batch.blocks:
        grid = row_of[batch.spread[first : first + block.rows * block.longest]].view(block.rows, block.longest)
        assert (grid == grid[:, :1]).all()
        first += block.rows * block.longest


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_padding_in_attention_stays_below_the_limit(lengths: list[int]) -> None:
    batch = pack_ids([[1] * n for n in lengths])
    assert pad_fraction(batch) <= 1 - 1 / 1.25 + 1e-9


def test_a_packed_batch_by_hand() -> None:
    batch = pack(
        [np.array([5, 6]), np.array([7, 8, 9])],
        [np.array([0, 0]), np.array([0, 1, 1])],
        [np.array([1]), np.array([0, 2])],
    )
    assert batch.ids.tolist() == [5, 6, 7, 8, 9]
    assert batch.positions.tolist() == [0, 1, 0, 1, 2]
    assert batch.segments.tolist() == [0, 0, 0, 1, 1]
    assert batch.cu_seqlens.tolist() == [0, 2, 5]
    assert batch.words.tolist() == [1, 2, 4]
    assert batch.cu_words.tolist() == [0, 1, 3]
    assert (batch.n_tokens, batch.n_rows, batch.max_length) == (5, 2, 3)


def test_targets_are_flat_with_offsets() -> None:
    targets = pack_targets([0, 2], [{"tags": np.array([1, 2])}, {"tags": np.array([3])}], count=3)
    assert targets.rows.tolist() == [0, 2]
    assert targets.values["tags"].tolist() == [1, 2, 3]
    assert targets.cu["tags"].tolist() == [0, 2, 3]
