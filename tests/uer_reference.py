"""UER-py's models as its papers and code describe them, for tests: made by hand from the published names of tensors,
computed row by row with torch's basic operations. Nothing of Braid is used.

Source of names: github.com/dbiir/UER-py, uer/layers, uer/encoders, uer/targets and finetune/run_*.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

V, E, D, INNER, HEADS, LAYERS, POSITIONS = 34, 16, 32, 48, 4, 2, 40
State = dict[str, Tensor]


class Made:
    """Draws tensors by name."""

    def __init__(self, *, old: bool) -> None:
        self.old, self.state = old, State()
        self.generator = torch.Generator().manual_seed(11)

    def add(self, name: str, *size: int, scale: float = 0.2, shift: float = 0.0) -> None:
        self.state[name] = shift + scale * torch.randn(size, generator=self.generator)

    def linear(self, name: str, out: int, given: int) -> None:
        self.add(f"{name}.weight", out, given)
        self.add(f"{name}.bias", out)

    def norm(self, name: str, size: int) -> None:
        self.add(f"{name}.gamma", size, shift=1.0)
        self.add(f"{name}.beta", size)

    def embeddings(self, size: int, parts: str, *, norm: bool) -> None:
        new = {"word": "word.embedding", "pos": "pos.embedding", "seg": "seg.embedding"}
        old = {"word": "word_embedding", "pos": "position_embedding", "seg": "segment_embedding"}
        rows = {"word": V, "pos": POSITIONS, "seg": 3}
        for part in parts.split():
            # As large as what is normalised, so that what UER-py adds to the deviation does not tell.
            self.add(f"embedding.{(old if self.old else new)[part]}.weight", rows[part], size, scale=1.0)
        if norm:
            self.norm("embedding.layer_norm", size)

    def layer(self, stem: str) -> None:
        for number in range(3):
            self.linear(f"{stem}.self_attn.linear_layers.{number}", D, D)
        self.linear(f"{stem}.self_attn.final_linear", D, D)
        self.norm(f"{stem}.layer_norm_1", D)
        self.linear(f"{stem}.feed_forward.linear_1", INNER, D)
        self.linear(f"{stem}.feed_forward.linear_2", D, INNER)
        self.norm(f"{stem}.layer_norm_2", D)

    def mlm(self, size: int) -> None:
        names = ("target.mlm_linear_1", "target.layer_norm", "target.mlm_linear_2")
        first, norm, last = (
            names if self.old else ("target.mlm.linear_1", "target.mlm.layer_norm", "target.mlm.linear_2")
        )
        self.linear(first, size, D)
        self.norm(norm, size)
        self.linear(last, V, size)

    def pair(self) -> None:
        stem = "target.nsp_linear_" if self.old else "target.sp.linear_"
        self.linear(f"{stem}1", D, D)
        self.linear(f"{stem}2", 2, D)

    def lm(self, size: int, *, bias: bool) -> None:
        name = "target.output_layer" if self.old else "target.lm.output_layer"
        self.add(f"{name}.weight", V, size)
        if bias:
            self.add(f"{name}.bias", V)


def bert(*, old: bool) -> State:
    made = Made(old=old)
    made.embeddings(D, "word pos seg", norm=True)
    for number in range(LAYERS):
        made.layer(f"encoder.transformer.{number}")
    made.mlm(D)
    made.pair()
    return made.state


def albert(*, old: bool) -> State:
    made = Made(old=old)
    made.embeddings(E, "word pos seg", norm=True)
    made.linear("encoder.linear", D, E)
    made.layer("encoder.transformer")
    made.mlm(E)
    made.pair()
    return made.state


def gpt(*, old: bool) -> State:
    made = Made(old=old)
    made.embeddings(D, "word pos", norm=False)
    for number in range(LAYERS):
        made.layer(f"encoder.transformer.{number}")
    made.norm("encoder.layer_norm", D)
    made.lm(D, bias=False)
    return made.state


def recurrent(kind: str, *, old: bool) -> State:
    made = Made(old=old)
    made.embeddings(E, "word", norm=False)
    gates, half = (4 if "lstm" in kind else 3), (D // 2 if kind.startswith("bi") else D)
    for stem in ("encoder.rnn_forward", "encoder.rnn_backward") if kind.startswith("bi") else ("encoder.rnn",):
        for number in range(LAYERS):
            made.add(f"{stem}.weight_ih_l{number}", gates * half, half if number else E)
            made.add(f"{stem}.weight_hh_l{number}", gates * half, half)
            made.add(f"{stem}.bias_ih_l{number}", gates * half)
            made.add(f"{stem}.bias_hh_l{number}", gates * half)
    made.lm(half, bias=True)
    return made.state


def gatedcnn(layers: int, width: int, *, old: bool) -> State:
    made = Made(old=old)
    made.embeddings(E, "word", norm=False)
    for part in ("conv", "gate"):
        made.add(f"encoder.{part}_1.weight", D, 1, width, E)
        made.add(f"encoder.{part}_1.bias", D)
        made.add(f"encoder.{part}_b1", 1, D, 1, 1)
        for number in range(layers - 1):
            made.add(f"encoder.{part}.{number}.weight", D, D, width, 1)
            made.add(f"encoder.{part}.{number}.bias", D)
            made.add(f"encoder.{part}_b.{number}", 1, D, 1, 1)
    made.lm(D, bias=True)
    return made.state


class Reference:
    """Hidden states and logits of one row. *exact*: with UER-py's own norms, which divide by the deviation with N - 1
    and add 1e-6 to it; else with torch's."""

    def __init__(self, state: State, settings: dict[str, Any], *, exact: bool = False) -> None:
        self.state, self.settings, self.exact = state, settings, exact

    def get(self, *names: str) -> Tensor | None:
        return next((self.state[name] for name in names if name in self.state), None)

    def norm(self, hidden: Tensor, name: str) -> Tensor:
        gamma, beta = self.state[f"{name}.gamma"], self.state[f"{name}.beta"]
        if self.exact:
            return gamma * (hidden - hidden.mean(-1, keepdim=True)) / (hidden.std(-1, keepdim=True) + 1e-6) + beta
        eps = 1e-5 if self.settings.get("mask") == "causal" else 1e-12
        return F.layer_norm(hidden, (len(gamma),), gamma, beta, eps)

    def linear(self, hidden: Tensor, name: str) -> Tensor:
        return hidden @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def activation(self, hidden: Tensor) -> Tensor:
        name = self.settings.get("hidden_act", "gelu")
        if name == "relu":
            return hidden.clamp(min=0)
        if name == "gelu_fast":
            return 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        return hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))

    def embedded(self, ids: Tensor, segments: Tensor) -> Tensor:
        """*segments*: UER-py's, which begin at 1; 0 is padding's."""
        word = self.get("embedding.word.embedding.weight", "embedding.word_embedding.weight")
        position = self.get("embedding.pos.embedding.weight", "embedding.position_embedding.weight")
        segment = self.get("embedding.seg.embedding.weight", "embedding.segment_embedding.weight")
        assert word is not None
        hidden = word[ids]
        if position is not None:
            hidden = hidden + position[: len(ids)]
        if segment is not None:
            hidden = hidden + segment[segments]
        return self.norm(hidden, "embedding.layer_norm") if "embedding.layer_norm.gamma" in self.state else hidden

    def attended(self, hidden: Tensor, stem: str) -> Tensor:
        n, size = hidden.shape
        q, k, v = (
            self.linear(hidden, f"{stem}.self_attn.linear_layers.{number}").view(n, HEADS, -1).transpose(0, 1)
            for number in range(3)
        )
        scores = q @ k.transpose(1, 2) / math.sqrt(size // HEADS)
        if self.settings.get("mask") == "causal":
            scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -1e4)
        context = (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, size)
        return self.linear(context, f"{stem}.self_attn.final_linear")

    def fed_forward(self, hidden: Tensor, stem: str) -> Tensor:
        inner = self.activation(self.linear(hidden, f"{stem}.feed_forward.linear_1"))
        return self.linear(inner, f"{stem}.feed_forward.linear_2")

    def hidden(self, ids: Tensor, segments: Tensor) -> Tensor:
        """[n, D]."""
        hidden = self.embedded(ids, segments)
        if "encoder.conv_1.weight" in self.state:
            return self.convolved(hidden)
        if any(name.startswith("encoder.rnn") for name in self.state):
            return self.recurred(hidden)
        if "encoder.linear.weight" in self.state:
            hidden = self.linear(hidden, "encoder.linear")
        for number in range(LAYERS):
            shared = "encoder.transformer.layer_norm_1.gamma" in self.state
            stem = "encoder.transformer" if shared else f"encoder.transformer.{number}"
            if self.settings.get("layernorm_positioning") == "pre":
                hidden = hidden + self.attended(self.norm(hidden, f"{stem}.layer_norm_1"), stem)
                hidden = hidden + self.fed_forward(self.norm(hidden, f"{stem}.layer_norm_2"), stem)
            else:
                hidden = self.norm(hidden + self.attended(hidden, stem), f"{stem}.layer_norm_1")
                hidden = self.norm(hidden + self.fed_forward(hidden, stem), f"{stem}.layer_norm_2")
        return self.norm(hidden, "encoder.layer_norm") if "encoder.layer_norm.gamma" in self.state else hidden

    def recurred(self, hidden: Tensor) -> Tensor:
        if "encoder.rnn.weight_ih_l0" in self.state:
            return self.cells(hidden, "encoder.rnn")
        backward = self.cells(hidden.flip(0), "encoder.rnn_backward").flip(0)
        return torch.cat([self.cells(hidden, "encoder.rnn_forward"), backward], dim=1)

    def cells(self, given: Tensor, stem: str) -> Tensor:
        """LSTM's or GRU's equations, step by step (torch.nn's documentation)."""
        for number in range(LAYERS):
            w_ih, w_hh = self.state[f"{stem}.weight_ih_l{number}"], self.state[f"{stem}.weight_hh_l{number}"]
            b_ih, b_hh = self.state[f"{stem}.bias_ih_l{number}"], self.state[f"{stem}.bias_hh_l{number}"]
            size = w_hh.shape[1]
            state, cell, out = torch.zeros(size), torch.zeros(size), []
            for step in given:
                x, h = w_ih @ step + b_ih, w_hh @ state + b_hh
                if len(w_hh) == 4 * size:
                    i, f, g, o = (x + h).chunk(4)
                    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                    state = o.sigmoid() * cell.tanh()
                else:
                    (xr, xz, xn), (hr, hz, hn) = x.chunk(3), h.chunk(3)
                    update = (xz + hz).sigmoid()
                    state = (1 - update) * (xn + (xr + hr).sigmoid() * hn).tanh() + update * state
                out.append(state)
            given = torch.stack(out)
        return given

    def convolved(self, hidden: Tensor) -> Tensor:
        """GatedcnnEncoder.forward of UER-py, of one row."""
        state, n = self.state, len(hidden)
        width = state["encoder.conv_1.weight"].shape[2]
        given = torch.cat([torch.zeros(width - 1, hidden.shape[1]), hidden])[None, None]
        conv = F.conv2d(given, state["encoder.conv_1.weight"], state["encoder.conv_1.bias"])
        conv = conv + state["encoder.conv_b1"].repeat(1, 1, n, 1)
        gate = F.conv2d(given, state["encoder.gate_1.weight"], state["encoder.gate_1.bias"])
        gate = gate + state["encoder.gate_b1"].repeat(1, 1, n, 1)
        out = conv * torch.sigmoid(gate)
        residual, padding = out, torch.zeros(1, out.shape[1], width - 1, 1)
        out = torch.cat([padding, out], dim=2)
        number = 0
        while f"encoder.conv.{number}.weight" in state:
            conv = F.conv2d(out, state[f"encoder.conv.{number}.weight"], state[f"encoder.conv.{number}.bias"])
            gate = F.conv2d(out, state[f"encoder.gate.{number}.weight"], state[f"encoder.gate.{number}.bias"])
            out = (conv + state[f"encoder.conv_b.{number}"]) * torch.sigmoid(gate + state[f"encoder.gate_b.{number}"])
            if (number + 1) % self.settings["block_size"] == 0:
                out = out + residual
                residual = out
            out = torch.cat([padding, out], dim=2)
            number += 1
        return out[0, :, width - 1 :, 0].T

    def mlm(self, hidden: Tensor) -> Tensor:
        old = "target.mlm_linear_1.weight" in self.state
        first, norm, last = (
            ("target.mlm_linear_1", "target.layer_norm", "target.mlm_linear_2")
            if old
            else ("target.mlm.linear_1", "target.mlm.layer_norm", "target.mlm.linear_2")
        )
        return self.linear(self.norm(self.activation(self.linear(hidden, first)), norm), last)

    def pair(self, hidden: Tensor) -> Tensor:
        stem = "target.nsp_linear_" if "target.nsp_linear_1.weight" in self.state else "target.sp.linear_"
        return self.linear(torch.tanh(self.linear(hidden[0], f"{stem}1")), f"{stem}2")

    def lm(self, hidden: Tensor) -> Tensor:
        name = "target.output_layer" if "target.output_layer.weight" in self.state else "target.lm.output_layer"
        logits = hidden @ self.state[f"{name}.weight"].T
        return logits + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else logits
