"""The packed BERT encoder, with shared layers where the shape says so.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Encoder
from braid.encoders.layouts import Layout
from braid.nn.transformer import Embeddings, Layer, Shape, rounded


class BertEncoder(Encoder):
    """BERT and its relatives on packed rows; weights go to and come from transformers' layout by name.

    *config*: transformers' config.json; *extra*: tensors of a checkpoint that belong to its base model but not to
    hidden states (the pooler), kept so that saving writes them back."""

    def __init__(
        self, shape: Shape, layout: Layout, config: dict[str, Any], extra: dict[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.shape, self.layout, self.config = shape, layout, config
        self.extra = extra or {}
        self.hidden_size = shape.hidden_size
        self.n_layers = shape.layers
        self.vocab_size = shape.vocab_size
        self.max_positions = shape.positions - shape.position_offset
        self.embeddings = Embeddings(shape)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.groups * shape.inner or shape.layers))

    def initialise(self, std: float) -> None:
        """Fresh weights as BERT's: normal with deviation `std`, zero biases, unit norms; the padding row is zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.embeddings.word.weight[self.shape.pad_id].zero_()

    @property
    def n_states(self) -> int:
        """The embeddings and every layer; those within one of ALBERT's groups count each."""
        return 1 + self.shape.layers * (self.shape.inner if self.shape.groups else 1)

    @property
    def pooler(self) -> tuple[Tensor, Tensor] | None:
        """The checkpoint's (BERT's `pooler.dense`, ALBERT's `pooler`)."""
        for name in ("pooler.dense", "pooler"):
            weight, bias = self.extra.get(f"{name}.weight"), self.extra.get(f"{name}.bias")
            if weight is not None and bias is not None:
                return weight, bias
        return None

    @property
    def word_embeddings(self) -> Tensor:
        """[V, M]; M is the embedding size."""
        return self.embeddings.word.weight

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """*Shape*: [T, D], and each layer's [T, D] (the embeddings first)."""
        tokens = batch.n_tokens
        hidden_TD = self.embeddings(batch)
        outputs = [hidden_TD]
        hidden_TD = rounded(hidden_TD)
        for number in range(self.shape.layers):
            for layer in self._bricks(number):
                hidden_TD = layer(hidden_TD, batch)
                outputs.append(hidden_TD[:tokens])
        return outputs[-1], tuple(outputs)

    def _bricks(self, number: int) -> list[nn.Module]:
        """The layers that step `number` runs: itself, or ALBERT's group of it."""
        if not self.shape.groups:
            return [self.layers[number]]
        group = number * self.shape.groups // self.shape.layers
        return [self.layers[group * self.shape.inner + inner] for inner in range(self.shape.inner)]

    def layer_of(self, name: str) -> int:
        """0 for the embeddings; shared layers count as the deepest layer that uses them."""
        if not name.startswith("layers."):
            return 0
        number = int(name.split(".")[1])
        if not self.shape.groups:
            return number + 1
        group = number // self.shape.inner
        return max(k + 1 for k in range(self.shape.layers) if k * self.shape.groups // self.shape.layers == group)

    def hf_config(self) -> dict[str, Any]:
        """config.json, as it was loaded or as transformers would write it."""
        # A checkpoint in half precision is held, and so saved, in float32; AutoModel believes what stands here.
        dtype = str(self.embeddings.word.weight.dtype).removeprefix("torch.")
        return {**self.config, **{key: dtype for key in ("dtype", "torch_dtype") if key in self.config}}

    def hf_state(self) -> dict[str, Tensor]:
        """Weights under transformers' names, the pooler of the checkpoint included."""
        return {**self.layout.to_theirs(dict(self.state_dict()), self.shape), **self.extra}
