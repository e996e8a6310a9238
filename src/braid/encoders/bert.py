"""bert: our own packed BERT, for BERT, RoBERTa, XLM-R, ELECTRA, ALBERT, DistilBERT, ERNIE and MacBERT checkpoints.

Hidden states equal transformers' (fp32, 1e-5); what is saved loads in `AutoModel` again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.bert_module import BertEncoder
from braid.encoders.layouts import LAYOUTS, Layout, layout_of
from braid.encoders.weights import Checkpoint, read_config
from braid.errors import BraidError
from braid.nn.transformer import ACTIVATIONS, Shape

SHAPES: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
"""Layers and hidden size (Turc et al. 2019, arXiv 1908.08962; base and large as in BERT); heads of 64, 4x inner."""


MAX_LAYERS, MAX_SIZE = 1000, 2**31
"""What no checkpoint comes near; shared layers of any number fit into a small file, so there is a bound."""


class Bert(EncoderVariant):
    """BERT and its relatives, packed: no padding in linear layers."""

    type: Literal["bert"] = "bert"

    shape: Literal["tiny", "mini", "small", "medium", "base", "large"] | None = None
    """Size for training from scratch; the fields below change single sizes of it."""

    hidden_size: int | None = Field(default=None, ge=8)
    """Size of hidden states."""

    layers: int | None = Field(default=None, ge=1, le=1000)
    """Number of layers."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads; None: hidden size / 64."""

    intermediate_size: int | None = Field(default=None, ge=8)
    """Inner size of the feed-forward; None: four times the hidden size."""

    embedding_size: int | None = Field(default=None, ge=8)
    """Factorised embeddings of this size (ALBERT); None: the hidden size."""

    share_layers: bool = False
    """All layers share one set of weights (ALBERT)."""

    max_positions: int = Field(default=512, ge=8)
    """Positions of an encoder from scratch."""

    segments: int = Field(default=2, ge=1)
    """Segments of an encoder from scratch."""

    activation: str = "gelu"
    """Activation of an encoder from scratch."""

    norm_eps: float = Field(default=1e-12, gt=0)
    """Epsilon of the norms of an encoder from scratch."""

    init_std: float = Field(default=0.02, gt=0)
    """Deviation of fresh weights."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of hidden states; None: the checkpoint's, or 0.1."""

    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of attention weights. 0 also where a checkpoint says otherwise: the fast kernels have none."""

    def build(self, *, vocab_size: int, pad_id: int) -> Encoder:
        shape = self._shape(vocab_size, pad_id)
        layout = LAYOUTS["albert" if shape.mapped or shape.groups else "bert"]
        encoder = BertEncoder(shape, layout, _config(shape, layout, self.init_std))
        encoder.initialise(self.init_std)
        return encoder

    def _shape(self, vocab_size: int, pad_id: int) -> Shape:
        if self.shape is None and (self.hidden_size is None or self.layers is None):
            raise BraidError(
                "encoder: give `pretrained`, or for training from scratch a `shape` "
                f"({', '.join(SHAPES)}) or both `hidden_size` and `layers`"
            )
        layers, hidden = SHAPES[self.shape] if self.shape else (0, 0)
        hidden, layers = self.hidden_size or hidden, self.layers or layers
        heads = self.heads or max(1, hidden // 64)
        if hidden % heads:
            raise BraidError(f"encoder.heads: {heads} heads do not divide the hidden size {hidden}")
        if self.activation not in ACTIVATIONS:
            raise BraidError(f"encoder.activation: {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        embedding = self.embedding_size or hidden
        # Only ALBERT's layout can hold factorised embeddings or shared layers, and it always maps the embeddings.
        albert = embedding != hidden or self.share_layers
        return Shape(
            vocab_size=vocab_size,
            hidden_size=hidden,
            layers=layers,
            heads=heads,
            intermediate_size=self.intermediate_size or 4 * hidden,
            embedding_size=embedding,
            positions=self.max_positions,
            segments=self.segments,
            pad_id=pad_id,
            activation=self.activation,
            norm_eps=self.norm_eps,
            dropout=0.1 if self.dropout is None else self.dropout,
            attention_dropout=self.attention_dropout,
            groups=(1 if self.share_layers else layers) if albert else 0,
            mapped=albert,
        )

    def load(self, directory: Path) -> Encoder:
        config = read_config(directory)
        layout = layout_of(config, str(directory / "config.json"))
        try:
            shape = layout.shape(config)
            _check_sizes(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise BraidError(f"{directory / 'config.json'}: missing or wrong setting: {error}") from error
        shape = replace(
            shape,
            attention_dropout=self.attention_dropout,
            dropout=shape.dropout if self.dropout is None else self.dropout,
        )
        checkpoint = Checkpoint(directory)
        prefix = layout.prefix if any(name.startswith(layout.prefix) for name in checkpoint.shapes) else ""
        found = {_modern(name.removeprefix(prefix)): name for name in checkpoint.shapes}
        if not shape.groups and not any(f".layer.{shape.layers - 1}." in name for name in found):
            raise BraidError(f"{directory}: config.json asks for {shape.layers} layers, the weights hold fewer")
        with torch.device("meta"):
            encoder = BertEncoder(shape, layout, config)
        names = list(encoder.state_dict())
        _check(encoder, layout, shape, names, found, checkpoint, directory)
        pooler = {theirs: real for theirs, real in found.items() if theirs.startswith("pooler.")}
        wanted = [found[theirs] for _, theirs, _ in layout.wanted(names, shape)] + list(pooler.values())
        tensors = checkpoint.read(wanted)
        theirs = {name: tensors[real].float() for name, real in found.items() if real in tensors}
        encoder.load_state_dict(layout.from_theirs(theirs, names, shape), assign=True)
        encoder.extra = {name: theirs[name] for name in pooler}
        for parameter in encoder.parameters():
            parameter.requires_grad_(True)
        return encoder

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        tiny: dict[str, Any] = {
            "hidden_size": 32,
            "layers": 2,
            "heads": 2,
            "intermediate_size": 64,
            "max_positions": 64,
        }
        return [tiny, {**tiny, "embedding_size": 16}, {**tiny, "share_layers": True}]


def _check_sizes(shape: Shape) -> None:
    """Refuse what no tensor can be made of, before anything is made. Raises ValueError."""
    sizes = {
        "layers": (shape.layers, 1, MAX_LAYERS),
        "heads": (shape.heads, 1, shape.hidden_size),
        "hidden layer groups": (shape.groups, 0, shape.layers),
        "inner layers": (shape.inner, 1, MAX_LAYERS // max(1, shape.layers)),
        "segments": (shape.segments, 0, MAX_SIZE),
        "task types": (shape.task_types, 0, MAX_SIZE),
        "hidden size": (shape.hidden_size, 1, MAX_SIZE),
        "intermediate size": (shape.intermediate_size, 1, MAX_SIZE),
        "embedding size": (shape.embedding_size, 1, MAX_SIZE),
        "vocabulary": (shape.vocab_size, 1, MAX_SIZE),
        "positions": (shape.positions, shape.position_offset + 1, MAX_SIZE),
        "padding id": (shape.pad_id, 0, shape.vocab_size - 1),
    }
    wrong = [
        f"{name} {value:,}, not in {low:,}..{high:,}"
        for name, (value, low, high) in sizes.items()
        if not low <= value <= high
    ]
    if not wrong and shape.hidden_size % shape.heads:
        wrong = [f"{shape.heads} heads do not divide the hidden size {shape.hidden_size}"]
    if not 0 <= shape.dropout < 1:
        wrong.append(f"dropout {shape.dropout}")
    if wrong:
        raise ValueError("; ".join(wrong))


def _modern(name: str) -> str:
    """Names of the oldest checkpoints (TensorFlow's) in today's spelling."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _check(
    encoder: BertEncoder,
    layout: Layout,
    shape: Shape,
    names: list[str],
    found: dict[str, str],
    checkpoint: Checkpoint,
    directory: Path,
) -> None:
    """Every tensor there, each of the size that the config says. Raises BraidError naming all that are not."""
    expected = {name: tuple(parameter.shape) for name, parameter in encoder.state_dict().items()}
    missing, misfits = [], []
    for name, theirs, parts in layout.wanted(names, shape):
        size = (expected[name][0] // parts, *expected[name][1:])
        if theirs not in found:
            missing.append(theirs)
        elif checkpoint.shapes[found[theirs]] != size:
            misfits.append(f"{theirs} is {list(checkpoint.shapes[found[theirs]])}, config.json says {list(size)}")
    if missing or misfits:
        lines = [f"missing: {', '.join(missing[:20])}{' ...' if len(missing) > 20 else ''}"] if missing else []
        raise BraidError(
            f"the weights in {directory} do not fit its config.json:\n    " + "\n    ".join(lines + misfits[:20])
        )


def _config(shape: Shape, layout: Layout, std: float) -> dict[str, Any]:
    """config.json of an encoder from scratch."""
    config: dict[str, Any] = {
        "architectures": ["AlbertModel" if layout.model_type == "albert" else "BertModel"],
        "model_type": layout.model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.segments,
        "hidden_act": shape.activation,
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.attention_dropout,
        "layer_norm_eps": shape.norm_eps,
        "initializer_range": std,
        "pad_token_id": shape.pad_id,
        "torch_dtype": "float32",
    }
    if layout.model_type == "albert":
        config |= {
            "embedding_size": shape.embedding_size,
            "num_hidden_groups": shape.groups,
            "inner_group_num": shape.inner,
        }
    return config
