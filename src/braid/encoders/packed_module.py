"""What our own encoders share: layers run over packed rows, weights that know their names in transformers.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Encoder
from braid.encoders.layouts import Layout
from braid.errors import BraidError
from braid.nn.transformer import Attention, Layer, Shape


class PackedEncoder(Encoder):
    """An encoder of `braid.nn.transformer` layers on packed rows; weights go to and come from transformers' layout by
    name. *config*: transformers' config.json.

    *extra*: tensors of a checkpoint that belong to its base model but not to hidden states (BERT's pooler), kept so
    that saving writes them back. *heads*: those of its pre-training heads, by our names."""

    def __init__(self, shape: Shape, layout: Layout, config: dict[str, Any]) -> None:
        super().__init__()
        self.shape, self.layout, self.config = shape, layout, config
        self.extra: dict[str, Tensor] = {}
        self.heads: dict[str, Tensor] = {}
        self.activation, self.norm_eps = shape.activation, shape.norm_eps
        self.hidden_size = shape.hidden_size
        self.n_layers = shape.layers
        self.vocab_size = shape.vocab_size
        self.max_positions = shape.positions - shape.position_offset
        self.layers: nn.ModuleList
        self.final_norm: nn.Module | None = None

    @property
    def pretraining(self) -> Mapping[str, Tensor]:
        """As far as the checkpoint has them."""
        return self.heads

    @abstractmethod
    def initialise(self, std: float) -> None:
        """Fresh weights with deviation `std`."""

    @property
    def attention_dropout(self) -> float:
        """Of attention weights, now."""
        return self.shape.attention_dropout if self.training else 0.0

    def steps(self) -> Sequence[nn.Module]:
        """The layers in the order in which they run; a shared one comes several times."""
        return list(self.layers)

    def run(
        self, hidden_TD: Tensor, attentions: Iterable[Attention], tokens: int, read: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The last and every state ([tokens, D] each) of embeddings that may be `rounded` up; *attentions*: how each
        step's tokens attend; *read* [N]: the tokens whose last states are wanted, None: all."""
        outputs = [hidden_TD[:tokens]]
        *others, last = zip(self.steps(), attentions, strict=True)
        for step, attention in others:
            hidden_TD = step(hidden_TD, attention)
            outputs.append(hidden_TD[:tokens])
        step, attention = last
        hidden_TD = step(hidden_TD, attention, read)[: tokens if read is None else len(read)]
        if self.final_norm is not None:
            hidden_TD = self.final_norm(hidden_TD)
        if read is not None:
            hidden_TD = hidden_TD.new_zeros(tokens, hidden_TD.shape[1]).index_copy(0, read, hidden_TD)
        return hidden_TD, (*outputs, hidden_TD)

    def keep(self, layers: Sequence[int]) -> None:
        """As `Encoder.keep`; ALBERT's shared layers and those that know their number (ModernBERT's) cannot."""
        count = self.layer_count
        if self.shape.groups or count is None:
            super().keep(layers)
            return
        if layers[-1] > self.n_layers:
            raise BraidError(f"encoder.keep_layers: there is no layer {layers[-1]}; this encoder has {self.n_layers}")
        self.layers = nn.ModuleList(self.layers[number - 1] for number in layers)
        self.n_layers = len(layers)
        self.shape = replace(self.shape, layers=len(layers))
        self.config = {**self.config, count: len(layers)}

    @property
    def layer_count(self) -> str | None:
        """What config.json calls the number of layers; None: it says more of them than their number."""
        return next((key for key in ("num_hidden_layers", "n_layers", "n_layer") if key in self.config), None)

    def check_length(self, batch: Batch) -> None:
        """Raises BraidError for a row that is longer than the positions."""
        if self.max_positions is not None and batch.max_length > self.max_positions:
            raise BraidError(
                f"a row of {batch.max_length:,} tokens is longer than the encoder's {self.max_positions:,} positions"
            )

    def layer_of(self, name: str) -> int:
        """0 for the embeddings; the last norm belongs to the last layer."""
        if name.startswith("final_norm."):
            return self.n_layers
        return int(name.split(".")[1]) + 1 if name.startswith("layers.") else 0

    def hf_config(self) -> dict[str, Any]:
        """config.json, as it was loaded or as transformers would write it."""
        # A checkpoint in half precision is held, and so saved, in float32; AutoModel believes what stands here.
        dtype = str(self.word_embeddings.dtype).removeprefix("torch.")
        return {**self.config, **{key: dtype for key in ("dtype", "torch_dtype") if key in self.config}}

    def hf_state(self) -> dict[str, Tensor]:
        """Weights under transformers' names, the pooler of the checkpoint included."""
        return {**self.layout.to_theirs(dict(self.state_dict()), self.shape), **self.extra}


def layers_of(shape: Shape) -> nn.ModuleList:
    """As many different layers as there are."""
    return nn.ModuleList(Layer(shape) for _ in range(shape.groups * shape.inner or shape.layers))
