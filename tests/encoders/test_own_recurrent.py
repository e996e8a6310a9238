"""Recurrent encoders against torch's own layers, row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braid.data.packing import pack_ids
from braid.encoders.base import Encoder
from braid.errors import BraidError
from encoders.test_own import encoder_of

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14], [15, 16, 17, 18], [19, 20, 21, 22, 23, 24, 25, 26, 27]]


def reference(encoder: Encoder, cell: str, inner: int, parts: dict[str, str], *, both: bool = False) -> nn.Module:
    """torch's layers with the weights of an encoder's: *parts* tells for an ending (`_l0`, `_l0_reverse`) whose."""
    width = encoder.embeddings.word.weight.shape[1]  # type: ignore[union-attr]
    layers = len({suffix.removesuffix("_reverse") for suffix in parts})
    out = CELLS[cell](width, inner, num_layers=layers, bidirectional=both)
    state = encoder.state_dict()
    weights = {
        f"{kind}{suffix}": state[f"{stem}.cell.{kind}_l0"]
        for suffix, stem in parts.items()
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    out.load_state_dict(weights)
    return out


def embedded(encoder: Encoder, row: list[int]) -> Tensor:
    return encoder.word_embeddings[torch.tensor(row)]


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_one_direction_is_torchs(cell: str) -> None:
    encoder, batch = encoder_of(cell, layers=3).eval(), pack_ids(ROWS)
    plain = reference(encoder, cell, 32, {f"_l{n}": f"layers.{n}" for n in range(3)})
    for span, row in zip(batch, ROWS, strict=True):
        torch.testing.assert_close(encoder(batch)[0][span], plain(embedded(encoder, row))[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_directions_apart_are_two_of_torchs(cell: str) -> None:
    encoder, batch = encoder_of(f"bi{cell}", layers=3).eval(), pack_ids(ROWS)
    ahead, back = (
        reference(encoder, cell, 16, {f"_l{n}": f"layers.{n}.{side}" for n in range(3)}) for side in range(2)
    )
    assert encoder.sees == "apart"
    for span, row in zip(batch, ROWS, strict=True):
        given = embedded(encoder, row)
        expected = torch.cat([ahead(given)[0], back(given.flip(0))[0].flip(0)], dim=1)
        torch.testing.assert_close(encoder(batch)[0][span], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_joint_directions_are_torchs_bidirectional_layers(cell: str) -> None:
    encoder, batch = encoder_of(f"bi{cell}", layers=3, directions="joint").eval(), pack_ids(ROWS)
    parts = {f"_l{n}{end}": f"layers.{n}.{side}" for n in range(3) for side, end in enumerate(("", "_reverse"))}
    plain = reference(encoder, cell, 16, parts, both=True)
    assert encoder.sees == "both"
    for span, row in zip(batch, ROWS, strict=True):
        torch.testing.assert_close(encoder(batch)[0][span], plain(embedded(encoder, row))[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rcnn_is_a_dense_layer_over_left_context_word_and_right_context() -> None:
    encoder, batch = encoder_of("rcnn", layers=1).eval(), pack_ids(ROWS)
    ends = {"_l0": "layers.0.left", "_l0_reverse": "layers.0.right"}
    plain, dense = reference(encoder, "lstm", 32, ends, both=True), encoder.get_submodule("layers.0.dense")
    for span, row in zip(batch, ROWS, strict=True):
        given = embedded(encoder, row)
        left, right = plain(given)[0].chunk(2, dim=1)
        expected = dense(torch.cat([left, given, right], dim=1)).tanh()
        torch.testing.assert_close(encoder(batch)[0][span], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_crnn_is_a_convolution_and_bidirectional_layers() -> None:
    encoder, batch = encoder_of("crnn", layers=1, kernel_size=3).eval(), pack_ids(ROWS)
    plain = reference(encoder, "lstm", 16, {"_l0": "layers.0.0", "_l0_reverse": "layers.0.1"}, both=True)
    kernel = encoder.get_parameter("convolution.kernel.weight").view(32, 3, 32).permute(0, 2, 1)
    bias = encoder.get_parameter("convolution.kernel.bias")
    for span, row in zip(batch, ROWS, strict=True):
        found = nn.functional.conv1d(embedded(encoder, row).T[None], kernel, bias, padding=1)[0].T.relu()
        torch.testing.assert_close(encoder(batch)[0][span], plain(found)[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_forget_gates_begin_open_and_recurrent_weights_orthogonal(cell: str) -> None:
    state = encoder_of(cell).state_dict()
    for gate in state["layers.0.cell.weight_hh_l0"].split(32):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32), atol=1e-5, rtol=1e-5)
    biases = (state["layers.0.cell.bias_ih_l0"] + state["layers.0.cell.bias_hh_l0"]).split(32)
    expected = [0.0, 1.0, 0.0, 0.0] if cell == "lstm" else [0.0] * 3
    assert [bias.unique().tolist() for bias in biases] == [[value] for value in expected]


@pytest.mark.parametrize("cell", CELLS)
def test_writing_on_stops_at_the_last_position(cell: str) -> None:
    encoder = encoder_of(cell, embedding="word_position_segment", max_positions=8).eval()
    state = encoder.continuation(pack_ids([[5, 6, 7], [8, 9, 10, 11, 12, 13, 14]]))
    state.step(torch.tensor([5, 6]))
    with pytest.raises(BraidError, match="8 positions"):
        state.step(torch.tensor([5, 6]))
    state.select(torch.tensor([0]))
    assert state.step(torch.tensor([5])).shape == (1, 32)


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_what_follows_a_choice_leaves_the_others_alone(cell: str) -> None:
    encoder = encoder_of(cell).eval()
    state = encoder.continuation(pack_ids(ROWS[:2]))
    state.select(torch.tensor([1, 1, 0]))
    written = state.step(torch.tensor([30, 31, 30]))
    for found, row in zip(written, ([*ROWS[1], 30], [*ROWS[1], 31], [*ROWS[0], 30]), strict=True):
        torch.testing.assert_close(found, encoder(pack_ids([row]))[0][-1], atol=1e-5, rtol=1e-5)
