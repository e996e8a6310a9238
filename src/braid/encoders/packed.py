"""What the configs of our own encoders share: the sizes for training from scratch, and loading of checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.layouts import Layout
from braid.encoders.packed_module import PackedEncoder
from braid.encoders.sizes import MAX_LAYERS, SHAPES, check_sizes
from braid.encoders.weights import Checkpoint, read_config, without_weights
from braid.errors import BraidError
from braid.nn.transformer import ACTIVATIONS, Shape


class PackedVariant(EncoderVariant):
    """Base of the encoders whose forward pass is ours. A subclass says which module it builds, how its shape follows
    from the options, and how checkpoints are laid out."""

    module: ClassVar[type[PackedEncoder]]
    shapes: ClassVar[Mapping[str, tuple[int, int]]] = SHAPES
    """Layers and hidden size by `shape`."""

    shape: Literal["tiny", "mini", "small", "medium", "base", "large"] | None = None
    """Size for training from scratch; the fields below change single sizes of it."""

    hidden_size: int | None = Field(default=None, ge=8)
    """Size of hidden states."""

    layers: int | None = Field(default=None, ge=1, le=MAX_LAYERS)
    """Number of layers."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads; None: hidden size / 64."""

    intermediate_size: int | None = Field(default=None, ge=8)
    """Inner size of the feed-forward; None: four times the hidden size."""

    max_positions: int = Field(default=512, ge=8)
    """Positions of an encoder from scratch."""

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

    @abstractmethod
    def scratch_shape(self, layers: int, hidden: int, *, vocab_size: int, pad_id: int) -> Shape:
        """The shape of an encoder from scratch."""

    @abstractmethod
    def scratch_layout(self, shape: Shape) -> Layout:
        """How such an encoder is saved."""

    @abstractmethod
    def scratch_config(self, shape: Shape, layout: Layout) -> dict[str, Any]:
        """config.json of such an encoder."""

    @abstractmethod
    def layout(self, config: Mapping[str, Any], where: str) -> Layout:
        """The layout of a config.json. Raises BraidError for what this encoder does not compute."""

    def build(self, *, vocab_size: int, pad_id: int) -> Encoder:
        layers, hidden = self._size()
        if self.activation not in ACTIVATIONS:
            raise BraidError(f"encoder.activation: {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        if hidden % self.heads_of(hidden):
            raise BraidError(f"encoder.heads: {self.heads_of(hidden)} heads do not divide the hidden size {hidden}")
        shape = self.scratch_shape(layers, hidden, vocab_size=vocab_size, pad_id=pad_id)
        try:
            check_sizes(shape)
        except ValueError as error:
            raise BraidError(f"encoder: {error}") from error
        layout = self.scratch_layout(shape)
        encoder = self.module(shape, layout, self.scratch_config(shape, layout))
        encoder.initialise(self.init_std)
        return encoder

    def _size(self) -> tuple[int, int]:
        """Layers and hidden size from scratch. Raises BraidError where the options do not say them."""
        if self.shape is None and (self.hidden_size is None or self.layers is None):
            raise BraidError(
                "encoder: give `pretrained`, or for training from scratch a `shape` "
                f"({', '.join(self.shapes)}) or both `hidden_size` and `layers`"
            )
        layers, hidden = self.shapes[self.shape] if self.shape else (0, 0)
        return self.layers or layers, self.hidden_size or hidden

    def heads_of(self, hidden: int) -> int:
        """Attention heads from scratch."""
        return self.heads or max(1, hidden // 64)

    def load(self, directory: Path) -> Encoder:
        config = read_config(directory)
        layout = self.layout(config, str(directory / "config.json"))
        shape = self._shape_of(config, layout, directory)
        checkpoint = Checkpoint(directory)
        found = layout.found(checkpoint.shapes)
        if not shape.groups and not any(name.startswith(layout.layer(shape.layers - 1)) for name in found):
            raise BraidError(f"{directory}: config.json asks for {shape.layers} layers, the weights hold fewer")
        with without_weights():
            encoder = self.module(shape, layout, config)
        wanted = layout.wanted(encoder.state_dict(), shape)
        _check_weights(wanted, {name: checkpoint.shapes[real] for name, real in found.items()}, directory)
        pooler = [name for name in found if name.startswith("pooler.")]
        heads = pretraining_heads(found)
        tensors = checkpoint.read([found[name] for name in (*wanted, *pooler, *heads)])
        theirs = {name: tensors[found[name]].float() for name in (*wanted, *pooler)}
        encoder.load_state_dict(layout.from_theirs(theirs, encoder.state_dict(), shape), assign=True)
        encoder.extra = {name: theirs[name] for name in pooler}
        encoder.heads = {ours: tensors[found[name]].float() for name, ours in heads.items()}
        for parameter in encoder.parameters():
            parameter.requires_grad_(True)
        return encoder

    def skeleton(self, config: dict[str, Any], where: Path) -> PackedEncoder:
        """The module that a config.json (read from *where*) describes, without weights. Raises BraidError."""
        layout = self.layout(config, str(where))
        shape = self._shape_of(config, layout, where.parent)
        with without_weights():
            return self.module(shape, layout, config)

    def _shape_of(self, config: dict[str, Any], layout: Layout, directory: Path) -> Shape:
        """A checkpoint's shape with the dropout of the options. Raises BraidError for what cannot be meant."""
        try:
            shape = layout.shape(config)
            check_sizes(shape)
        except BraidError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BraidError(f"{directory / 'config.json'}: missing or wrong setting: {error}") from error
        return replace(
            shape,
            attention_dropout=self.attention_dropout,
            dropout=shape.dropout if self.dropout is None else self.dropout,
        )


_HEADS = {
    "mlm.dense": ("cls.predictions.transform.dense", "lm_head.dense", "predictions.dense", "vocab_transform"),
    "mlm.norm": (
        "cls.predictions.transform.LayerNorm",
        "lm_head.layer_norm",
        "predictions.LayerNorm",
        "vocab_layer_norm",
    ),
    "mlm": ("cls.predictions", "lm_head", "predictions", "vocab_projector"),
    "pair": ("cls.seq_relationship", "sop_classifier.classifier"),
}
"""Our names of pre-training heads to those of BERT, RoBERTa, ALBERT and DistilBERT."""


def pretraining_heads(found: Iterable[str]) -> dict[str, str]:
    """The tensors of a checkpoint's pre-training heads: their names to ours. The vocabulary's vectors, which are the
    word embeddings again, are not among them."""
    names = {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for ours, stems in _HEADS.items()
        for theirs in stems
        for kind in (("bias",) if ours == "mlm" else ("weight", "bias"))
    }
    return {name: names[name] for name in found if name in names}


def _check_weights(
    wanted: Mapping[str, tuple[int, ...]], there: Mapping[str, tuple[int, ...]], directory: Path
) -> None:
    """Every tensor there, each of the size that the config says. Raises BraidError naming all that are not."""
    missing = [name for name in wanted if name not in there]
    misfits = [
        f"{name} is {list(there[name])}, config.json says {list(size)}"
        for name, size in wanted.items()
        if name in there and there[name] != size
    ]
    if missing or misfits:
        lines = [f"missing: {', '.join(missing[:20])}{' ...' if len(missing) > 20 else ''}"] if missing else []
        raise BraidError(
            f"the weights in {directory} do not fit its config.json:\n    " + "\n    ".join(lines + misfits[:20])
        )
