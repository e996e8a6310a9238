"""Attention alone, and synthesised attention, by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from encoders.test_own import encoder_of

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14], [15, 16, 17, 18, 19]]
WORDS = {"embedding": "word", "layers": 1}


def synthesised(encoder: Encoder, scores_HLL: Tensor, hidden_LD: Tensor) -> Tensor:
    """One layer of a Synthesizer over one row, from its scores on."""
    layer = encoder.get_submodule("layers.0")
    value_HLE = layer.value(hidden_LD).view(len(hidden_LD), 2, 16).transpose(0, 1)  # type: ignore[operator]
    context_LD = (scores_HLL.softmax(dim=-1) @ value_HLE).transpose(0, 1).flatten(1)
    hidden_LD = layer.attention_norm(hidden_LD + layer.output(context_LD))  # type: ignore[operator]
    inner = F.gelu(layer.intermediate(hidden_LD))  # type: ignore[operator]
    return layer.output_norm(hidden_LD + layer.back(inner))  # type: ignore[operator]


@torch.no_grad()
def test_dense_scores_are_what_each_token_says_by_itself() -> None:
    encoder, batch = encoder_of("synt", weights="dense", **WORDS).eval(), pack_ids(ROWS)
    scores = encoder.get_submodule("layers.0.scores")
    for span, row in zip(batch, ROWS, strict=True):
        hidden = encoder.word_embeddings[torch.tensor(row)]
        inner_HLE = F.relu(scores.first(hidden)).view(len(row), 2, 16).transpose(0, 1)  # type: ignore[operator]
        expected = synthesised(encoder, scores.second(inner_HLE)[:, :, : len(row)], hidden)  # type: ignore[operator]
        torch.testing.assert_close(encoder(batch)[0][span], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_random_scores_are_those_of_the_positions() -> None:
    encoder, batch = encoder_of("synt", weights="random", **WORDS).eval(), pack_ids(ROWS)
    table = encoder.get_parameter("layers.0.scores.table_HPP")
    assert table.shape == (2, 64, 64)
    for span, row in zip(batch, ROWS, strict=True):
        hidden = encoder.word_embeddings[torch.tensor(row)]
        expected = synthesised(encoder, table[:, : len(row), : len(row)], hidden)
        torch.testing.assert_close(encoder(batch)[0][span], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attn_is_attention_added_and_normalised() -> None:
    encoder, batch = encoder_of("attn", **WORDS).eval(), pack_ids(ROWS)
    layer = encoder.get_submodule("layers.0")
    for span, row in zip(batch, ROWS, strict=True):
        hidden = encoder.word_embeddings[torch.tensor(row)]
        query, key, value = layer.qkv(hidden).view(len(row), 3, 2, 16).permute(1, 2, 0, 3)  # type: ignore[operator]
        context = ((query @ key.mT / 4).softmax(dim=-1) @ value).transpose(0, 1).flatten(1)
        expected = layer.norm(hidden + layer.output(context))  # type: ignore[operator]
        torch.testing.assert_close(encoder(batch)[0][span], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("hidden_size", "heads"), [(32, 1), (128, 2)])
def test_heads_have_64_dimensions_unless_told(hidden_size: int, heads: int) -> None:
    encoder = encoder_of("attn", hidden_size=hidden_size, heads=None)
    assert encoder.get_submodule("layers.0").heads == heads


def test_attn_has_no_feed_forward() -> None:
    names = {name.split(".")[2] for name in encoder_of("attn").state_dict() if name.startswith("layers.")}
    assert names == {"qkv", "output", "norm"}
