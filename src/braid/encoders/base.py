"""What an encoder is: packed batch in, hidden states out.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from braid.config.families import EncoderConfig
from braid.data.batch import Batch
from braid.errors import BraidError

Sight = Literal["both", "left", "apart"]
"""What a token's hidden state knows of its row. `both`: all of it; `left`: the token and what stands before it;
`apart`: its first half the token and what stands before, its second half the token and what comes after."""


class Continuation(ABC):
    """Rows of an encoder that sees `left` in the middle of being written, with what further tokens depend on. A row may
    have several continuations, N in all."""

    last: Tensor
    """Hidden state [N, D] of the last token of each."""

    @abstractmethod
    def step(self, ids: Tensor) -> Tensor:
        """Append one token to each, `ids` [N]; its hidden state [N, D], which is also `last` now."""

    @abstractmethod
    def select(self, index: Tensor) -> None:
        """Go on from continuations `index` [N'], in that order; one may be there several times."""


class Encoder(nn.Module, ABC):
    """A module that turns a packed batch into hidden states; no row ever sees another."""

    sees: Sight = "both"
    activation: str = "gelu"
    """By transformers' name, for heads that are to have the encoder's."""
    norm_eps: float = 1e-12
    """Epsilon of the norms, for the same."""
    hidden_size: int
    n_layers: int
    max_positions: int | None
    """Longest row that the positions allow, special tokens included; None: no limit."""
    vocab_size: int

    @property
    def n_states(self) -> int:
        """How many hidden states `forward` gives."""
        return self.n_layers + 1

    @property
    def pooler(self) -> tuple[Tensor, Tensor] | None:
        """Weight [D, D] and bias [D] of the dense layer that the checkpoint has behind its first token; None: none."""
        return None

    @property
    def pretraining(self) -> Mapping[str, Tensor]:
        """Weights of the checkpoint's own pre-training heads, by our names: `mlm.dense.weight`, `mlm.dense.bias`,
        `mlm.norm.weight`, `mlm.norm.bias`, `mlm.bias`, `pair.weight`, `pair.bias`; as many as it has."""
        return {}

    def keep_pooler(self, weight: Tensor, bias: Tensor) -> None:
        """Let a pooler [D, D], [D] that was trained go along with what is saved, where the layout has one."""
        return None

    def keep(self, layers: Sequence[int]) -> None:
        """Become the encoder of these of its layers alone (counted from 1, ascending). Raises BraidError where there
        are none such, or an encoder cannot."""
        raise BraidError("encoder.keep_layers: this encoder's layers cannot be taken out one by one")

    @property
    @abstractmethod
    def word_embeddings(self) -> Tensor:
        """The table [V, M] of the tokens' vectors, for heads that share it; M is D, or less where it is factorised."""

    @contextmanager
    def shifted(self, shift: Tensor) -> Iterator[None]:
        """Within it, *shift* [T, M] is added to the vectors of a batch's tokens as they are looked up, before anything
        else (positions, norm, dropout) comes to them. Gradients reach *shift* and, as ever, the table.

        Raises BraidError for an encoder that looks words up in no module of torch's."""
        table = self.word_embeddings
        lookup = next((m for m in self.modules() if isinstance(m, nn.Embedding) and m.weight is table), None)
        if lookup is None:
            raise BraidError("this encoder looks words up in a way of its own, so that nothing can be added to them")

        def add(module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
            return found + self.placed(shift, given[0])

        handle = lookup.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()

    def placed(self, values_TM: Tensor, ids: Tensor) -> Tensor:
        """Values of a batch's tokens as the tokens stand where they are looked up, *ids*. Default: as in the batch."""
        assert values_TM.shape[0] == ids.shape[0]
        return values_TM

    def continuation(self, batch: Batch) -> Continuation:
        """Read the rows of a batch and be ready to write on. Raises BraidError for an encoder that cannot."""
        raise BraidError(f"an encoder that sees {self.sees!r} cannot write on")

    traceable: ClassVar[bool] = False
    """Whether `forward` takes batches of any size that are rectangles (`Batch.real`), without a look at any value, so
    that it can become a graph for export."""

    leaves_out: ClassVar[bool] = False
    """Whether `forward` takes *read*."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Last hidden state [T, D] and the output of every layer ([T, D] each; the embeddings first). Where
        `leaves_out`, with a second argument *read* [N] or None: tokens, ascending, whose last states are wanted; those
        of all others are zeros."""

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Depth of a parameter by its name: 0 for embeddings, 1..n_layers; for layer-wise rates and freezing."""

    @abstractmethod
    def hf_config(self) -> dict[str, Any]:
        """config.json in transformers' own layout."""

    @abstractmethod
    def hf_state(self) -> dict[str, Tensor]:
        """Weights under transformers' own names, as `AutoModel` expects them."""


class EncoderVariant(EncoderConfig, ABC):
    """Base of the encoders' configs; an instance builds its module."""

    has_twin: ClassVar[bool] = True
    """Whether transformers has this encoder too, so that `AutoModel` loads what is saved."""

    def twin(self) -> bool:
        """Whether transformers has what this configuration builds."""
        return self.has_twin

    @abstractmethod
    def build(self, *, vocab_size: int, pad_id: int) -> Encoder:
        """A fresh encoder with random weights, for training from scratch."""

    @abstractmethod
    def load(self, directory: Path) -> Encoder:
        """The encoder in a directory of transformers' layout (config.json + model.safetensors).

        Raises BraidError naming what is missing or does not fit."""

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        """Tiny configurations for the contract suite (keyword arguments of this class)."""
        return [{}]
