"""Rotary positions and relative biases: by hand, and against T5's function."""

from __future__ import annotations

import math

import torch

from braid.data.packing import pack_ids
from braid.nn.positions import RelativeBias, buckets, rotate, rotation


def test_a_pair_turns_by_its_angle_and_values_do_not() -> None:
    """Heads of size 4: dimensions 0 and 2 turn by 1 radian a position, 1 and 3 by 100 ** -0.5."""
    qkv = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(2, 3, 1, 4)
    (query, key, value) = rotate(qkv, rotation(torch.tensor([0, 3]), 4, 100.0)).unbind(1)
    torch.testing.assert_close(query[0, 0], qkv[0, 0, 0])
    expected = [
        1 * math.cos(3) - 3 * math.sin(3),
        2 * math.cos(0.3) - 4 * math.sin(0.3),
        3 * math.cos(3) + 1 * math.sin(3),
        4 * math.cos(0.3) + 2 * math.sin(0.3),
    ]
    torch.testing.assert_close(query[1, 0], torch.tensor(expected))
    torch.testing.assert_close(key, query)
    torch.testing.assert_close(value, qkv[:, 2])


def test_products_of_turned_queries_and_keys_know_distances_only() -> None:
    qkv = torch.randn(1, 3, 2, 8).expand(6, 3, 2, 8)
    query, key, _ = rotate(qkv, rotation(torch.arange(6) + 40, 8, 10_000.0)).unbind(1)
    product = torch.einsum("the,she->hts", query, key)
    torch.testing.assert_close(product[:, 1:, 1:], product[:, :-1, :-1], atol=1e-4, rtol=1e-4)


def test_buckets_are_those_of_t5() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    for count, farthest in ((32, 128), (16, 20)):
        expected = T5Attention._relative_position_bucket(distance, num_buckets=count, max_distance=farthest)
        assert torch.equal(buckets(distance, count=count, farthest=farthest), expected)


def test_near_distances_have_a_bucket_each() -> None:
    assert buckets(torch.arange(-8, 9)).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0, *range(17, 25)]


def test_biases_stand_at_their_distance_and_padding_is_out() -> None:
    blocks = pack_ids([[5] * 6, [6] * 6, [7] * 7, [8] * 30]).blocks
    bias = RelativeBias(heads=2)
    for block, found in zip(blocks, bias(blocks), strict=True):
        place = torch.arange(block.longest)
        expected = bias.table(buckets(place[None, :] - place[:, None])).permute(2, 0, 1)[None]
        if block.keep is None:
            torch.testing.assert_close(found, expected)
            continue
        keep = block.keep[:, None, None, :].expand(-1, 2, block.longest, -1)
        torch.testing.assert_close(found[keep], expected.expand_as(found)[keep])
        assert (found[~keep] == -math.inf).all()
    assert any(block.keep is not None for block in blocks)
