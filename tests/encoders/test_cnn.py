"""Convolutional encoders by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from encoders.test_own import encoder_of

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14]]


def convolved(encoder: Encoder, layer: int, hidden_TD: Tensor, width: int, before: int) -> Tensor:
    """Norm and convolution of one layer over one row, with torch's own."""
    stem = f"layers.{layer}.convolution.kernel"
    weight = encoder.get_parameter(f"{stem}.weight").view(-1, width, 32).permute(0, 2, 1)
    normed = encoder.get_submodule(f"layers.{layer}.norm")(hidden_TD).T[None]
    return F.conv1d(F.pad(normed, (before, width - 1 - before)), weight, encoder.get_parameter(f"{stem}.bias"))[0].T


@torch.no_grad()
def test_cnn_adds_each_convolution_to_what_comes_in() -> None:
    encoder, batch = encoder_of("cnn", layers=3, kernel_size=5).eval(), pack_ids(ROWS)
    for span, row in zip(batch, ROWS, strict=True):
        hidden = encoder.word_embeddings[torch.tensor(row)]
        for layer in range(3):
            hidden = hidden + convolved(encoder, layer, hidden, 5, 2).relu()
        torch.testing.assert_close(encoder(batch)[0][span], hidden, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_gatedcnn_gates_each_layer_and_adds_each_block(causal: bool) -> None:
    encoder = encoder_of("gatedcnn", layers=5, kernel_size=3, block_size=2, causal=causal).eval()
    batch = pack_ids(ROWS)
    assert encoder.sees == ("left" if causal else "both")
    for span, row in zip(batch, ROWS, strict=True):
        hidden = encoder.word_embeddings[torch.tensor(row)]
        for block in ((0, 1), (2, 3), (4,)):
            begun = hidden
            for layer in block:
                found, gate = convolved(encoder, layer, hidden, 3, 2 if causal else 1).chunk(2, dim=1)
                hidden = found * gate.sigmoid()
            hidden = hidden + begun
        torch.testing.assert_close(encoder(batch)[0][span], hidden, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("width", "layers"), [(3, 1), (3, 2), (5, 2)])
def test_a_token_sees_as_far_as_the_kernels_reach(width: int, layers: int) -> None:
    encoder = encoder_of("cnn", kernel_size=width, layers=layers).eval()
    one, other = [5] * 21, [*[5] * 10, 6, *[5] * 10]
    changed = (encoder(pack_ids([one]))[0] - encoder(pack_ids([other]))[0]).abs().sum(dim=1) > 0
    reach = layers * (width // 2)
    assert changed.nonzero().flatten().tolist() == list(range(10 - reach, 11 + reach))
