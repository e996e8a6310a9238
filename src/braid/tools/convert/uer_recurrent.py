"""UER-py's LSTM and GRU encoders: `rnn` (one way, or both ways joint), `rnn_forward` and `rnn_backward` (apart)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braid.config.families import EncoderConfig
from braid.encoders.own import OwnEncoder, OwnVariant
from braid.encoders.own_recurrent import TwoWay
from braid.encoders.weights import without_weights
from braid.errors import BraidError
from braid.tools.convert.model import check_sizes, fill
from braid.tools.convert.report import Report
from braid.tools.convert.torchfile import sizes_of
from braid.tools.convert.uer_embeddings import (
    narrowed,
    options_of,
    read_embeddings,
    settings_of,
    widened,
    write_embeddings,
)

_GATES = {4: "lstm", 3: "gru"}
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def read_recurrent(tensors: dict[str, Tensor], path: Path, report: Report) -> OwnEncoder:
    """The encoder. Raises BraidError for cells that are neither LSTM's nor GRU's, and for a file that is not whole."""
    apart = "encoder.rnn_forward.weight_hh_l0" in tensors
    stem = "encoder.rnn_forward" if apart else "encoder.rnn"
    recurrent = tensors.get(f"{stem}.weight_hh_l0")
    if recurrent is None:
        raise BraidError(f"{path}: {stem}.weight_hh_l0 is missing; the file is not whole")
    gates, size = recurrent.shape[0] // recurrent.shape[1], recurrent.shape[1]
    if gates not in _GATES:
        raise BraidError(f"{path}: cells with {gates} gates (plain RNN); expected LSTM's 4 or GRU's 3")
    both = apart or f"{stem}.weight_hh_l0_reverse" in tensors
    hidden = 2 * size if both else size
    layers = 1 + max(int(match[1]) for name in tensors if (match := re.search(r"\.weight_hh_l(\d+)$", name)))
    kind = ("bi" if both else "") + _GATES[gates]
    options = {"hidden_size": hidden, "layers": layers, **options_of(tensors, hidden, path)}
    if both:
        options["directions"] = "apart" if apart else "joint"
    variant = EncoderConfig.lookup(kind).model_validate({"type": kind, **options})
    assert isinstance(variant, OwnVariant)
    with without_weights():
        encoder = variant.make(len(tensors["embedding.word.embedding.weight"]), 0)
    weights = read_embeddings(tensors, hidden, report)
    names = _names(encoder)
    wanted = {theirs: tuple(encoder.get_parameter(ours).shape) for ours, theirs in names.items()}
    found = sizes_of({theirs: tensors[theirs] for theirs in names.values() if theirs in tensors})
    for theirs in [name for name in found if name.endswith(("weight_ih_l0", "weight_ih_l0_reverse"))]:
        wanted[theirs] = (wanted[theirs][0], tensors["embedding.word.embedding.weight"].shape[1])
    check_sizes(wanted, found, path, "each other")
    for ours, theirs in names.items():
        first = ours.startswith("layers.0.") and "weight_ih" in ours
        weights[ours] = widened(tensors[theirs], hidden) if first else tensors[theirs]
    report.map(names.values(), "encoder")
    fill(encoder, weights)
    return encoder


def write_recurrent(encoder: OwnEncoder, target: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its weights and config JSON."""
    out = write_embeddings(encoder)
    state = {name: tensor.detach() for name, tensor in encoder.state_dict().items()}
    for ours, theirs in _names(encoder).items():
        if not (ours.startswith("layers.0.") and "_ih_" in ours):
            out[theirs] = state[ours]
        elif "weight" in ours:
            bias = ours.replace("weight_ih", "bias_ih")
            out[theirs], out[theirs.replace("weight_ih", "bias_ih")] = narrowed(encoder, state[ours], state[bias])
    kind = str(encoder.variant.type)
    joint = isinstance(encoder, TwoWay) and not encoder.apart
    settings = settings_of(encoder, kind.removeprefix("bi") if joint else kind, target)
    return out, {**settings, **({"bidirectional": True} if joint else {})}


def _names(encoder: OwnEncoder) -> dict[str, str]:
    """Our layers' parameters to theirs."""
    out = {}
    for number in range(encoder.n_layers):
        for part in _PARTS:
            if not isinstance(encoder, TwoWay):
                out[f"layers.{number}.cell.{part}_l0"] = f"encoder.rnn.{part}_l{number}"
                continue
            for way, (stem, ending) in enumerate(_ways(encoder)):
                out[f"layers.{number}.{way}.cell.{part}_l0"] = f"{stem}.{part}_l{number}{ending}"
    return out


def _ways(encoder: TwoWay) -> tuple[tuple[str, str], tuple[str, str]]:
    if encoder.apart:
        return ("encoder.rnn_forward", ""), ("encoder.rnn_backward", "")
    return ("encoder.rnn", ""), ("encoder.rnn", "_reverse")


def read_gated(tensors: dict[str, Tensor], settings: Mapping[str, Any], path: Path, report: Report) -> OwnEncoder:
    """Its GatedCNN. Raises BraidError for a file that is not whole, or of a release before biases of their own."""
    first = tensors["encoder.conv_1.weight"]
    hidden, _, width, embedding = first.shape
    layers = 2 + max((int(m[1]) for name in tensors if (m := re.match(r"encoder\.conv\.(\d+)\.", name))), default=-1)
    for key, found in (("layers_num", layers), ("kernel_size", width), ("hidden_size", hidden)):
        if key in settings and int(settings[key]) != found:
            raise BraidError(f"{path} has {key} {found}, the config says {settings[key]}")
    if "block_size" not in settings:
        report.missing["block_size"] = "taken for 2, UER-py's default; a config JSON (--config) would say it"
    options = options_of(tensors, hidden, path)
    variant = EncoderConfig.lookup("gatedcnn").model_validate(
        {
            "type": "gatedcnn",
            "hidden_size": hidden,
            "layers": layers,
            "kernel_size": width,
            "block_size": int(settings.get("block_size", 2)),
            "causal": True,
            "norm": False,
            "first_block": "layer",
            **options,
        }
    )
    assert isinstance(variant, OwnVariant)
    wanted: dict[str, tuple[int, ...]] = {}
    for kernel, bias, size in _convolutions(layers, hidden, width, embedding):
        wanted |= {f"{kernel}.weight": size, f"{kernel}.bias": (hidden,), bias: (1, hidden, 1, 1)}
    check_sizes(wanted, sizes_of(tensors), path, "UER-py's GatedCNN of today")
    with without_weights():
        encoder = variant.make(len(tensors["embedding.word.embedding.weight"]), 0)
    weights = read_embeddings(tensors, hidden, report)
    both = _convolutions(layers, hidden, width, embedding)
    for number in range(layers):
        kernels, biases = [], []
        for kernel, bias, _ in both[2 * number : 2 * number + 2]:
            steps = _steps(tensors[f"{kernel}.weight"], first=number == 0)
            kernels.append(widened(steps, hidden).reshape(hidden, -1))
            biases.append(tensors[f"{kernel}.bias"] + tensors[bias].flatten())
        weights[f"layers.{number}.convolution.kernel.weight"] = torch.cat(kernels)
        weights[f"layers.{number}.convolution.kernel.bias"] = torch.cat(biases)
    report.map(wanted, "encoder")
    fill(encoder, weights)
    return encoder


def write_gated(encoder: OwnEncoder, target: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its weights and config JSON. Raises BraidError for an encoder that computes otherwise than UER-py's."""
    variant = encoder.variant.model_dump()
    found = {key: variant[key] for key in ("causal", "norm", "first_block")}
    expected = {"causal": True, "norm": False, "first_block": "layer"}
    if found != expected:
        raise BraidError(f"UER-py's GatedCNN is one with {expected}, this is one with {found}")
    out = write_embeddings(encoder)
    hidden, width = encoder.hidden_size, int(variant["kernel_size"])
    project = encoder.embeddings.project
    if project is not None and project.bias.any():
        raise BraidError(
            "a map of embeddings with a bias cannot be written as UER-py's GatedCNN, which pads with zeros"
        )
    both = _convolutions(encoder.n_layers, hidden, width, encoder.word_embeddings.shape[1])
    state = encoder.state_dict()
    for number in range(encoder.n_layers):
        kernels = state[f"layers.{number}.convolution.kernel.weight"].chunk(2)
        biases = state[f"layers.{number}.convolution.kernel.bias"].chunk(2)
        for (name, own_bias, size), kernel, bias in zip(
            both[2 * number : 2 * number + 2], kernels, biases, strict=True
        ):
            steps = kernel.view(hidden, width, hidden)
            if number == 0:
                narrow, _ = narrowed(encoder, steps.reshape(-1, hidden), torch.zeros(1))
                shaped = narrow.view(hidden, 1, width, -1)
            else:
                shaped = steps.permute(0, 2, 1)[..., None]
            assert tuple(shaped.shape) == size
            out |= {f"{name}.weight": shaped.contiguous(), f"{name}.bias": bias.clone()}
            out[own_bias] = torch.zeros(1, hidden, 1, 1)
    settings = settings_of(encoder, "gatedcnn", target)
    return out, {**settings, "kernel_size": width, "block_size": int(variant["block_size"])}


def _convolutions(layers: int, hidden: int, width: int, embedding: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Of each layer the convolution and then its gate: their names, those of their second biases, their sizes."""
    out: list[tuple[str, str, tuple[int, ...]]] = []
    for part in ("conv", "gate"):
        out.append((f"encoder.{part}_1", f"encoder.{part}_b1", (hidden, 1, width, embedding)))
    for number in range(layers - 1):
        for part in ("conv", "gate"):
            out.append((f"encoder.{part}.{number}", f"encoder.{part}_b.{number}", (hidden, hidden, width, 1)))
    return out


def _steps(kernel: Tensor, *, first: bool) -> Tensor:
    """A kernel of torch's, [out, 1, width, in] of the first layer or [out, in, width, 1] of others, as [out, width,
    in]."""
    return kernel[:, 0] if first else kernel[..., 0].permute(0, 2, 1)
