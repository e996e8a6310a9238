"""What the encoders share that transformers does not have: options, how they are saved, how they are loaded.

Shape legend: T tokens, D hidden size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError
from torch import Tensor

from braid.config.families import EncoderConfig
from braid.data.batch import Batch
from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.weights import Checkpoint, read_config, without_weights
from braid.errors import BraidError
from braid.nn.embeddings import EmbeddingKind, TokenEmbeddings

MAX_SIZE, MAX_LAYERS, MAX_VOCABULARY = 2**14, 128, 2**24
"""What no encoder of these kinds comes near."""

SHOWN = 20
"""How many misfits of a checkpoint a message names."""


class OwnVariant(EncoderVariant):
    """Base of their configs."""

    has_twin: ClassVar[bool] = False

    hidden_size: int = Field(default=512, ge=2, le=MAX_SIZE)
    """Size of hidden states."""

    layers: int = Field(default=2, ge=1, le=MAX_LAYERS)
    """Number of layers."""

    embedding: EmbeddingKind = "word"
    """What tokens become at first: a vector for each word, with its position and segment (BERT), or with waves."""

    embedding_size: int | None = Field(default=None, ge=2, le=MAX_SIZE)
    """Size of the words' vectors. None: the hidden size."""

    max_positions: int = Field(default=512, ge=8, le=2**20)
    """Positions, where the embedding or the encoder has a vector for each."""

    init_std: float = Field(default=0.1, gt=0)
    """Deviation of fresh embeddings."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of embeddings and between layers. None: the checkpoint's, or 0.1."""

    @abstractmethod
    def make(self, vocab_size: int, pad_id: int) -> OwnEncoder:
        """The module with fresh weights."""

    def build(self, *, vocab_size: int, pad_id: int) -> Encoder:
        encoder = self.make(vocab_size, pad_id)
        encoder.embeddings.initialise(self.init_std, pad_id)
        return encoder

    def load(self, directory: Path) -> Encoder:
        variant, vocab_size, pad_id = self._saved(read_config(directory), directory / "config.json")
        checkpoint = Checkpoint(directory)
        if not any(name.startswith(f"layers.{variant.layers - 1}.") for name in checkpoint.shapes):
            raise BraidError(f"{directory}: config.json asks for {variant.layers} layers, the weights hold fewer")
        with without_weights():
            encoder = variant.make(vocab_size, pad_id)
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        _check_weights(expected, checkpoint.shapes, directory)
        weights = {name: tensor.float() for name, tensor in checkpoint.read(list(expected)).items()}
        encoder.load_state_dict(weights, assign=True)
        for parameter in encoder.parameters():
            parameter.requires_grad_(True)
        return encoder

    def skeleton(self, config: dict[str, Any], where: Path) -> OwnEncoder:
        """The module that a config.json (read from *where*) describes, without weights. Raises BraidError."""
        variant, vocab_size, pad_id = self._saved(config, where)
        with without_weights():
            return variant.make(vocab_size, pad_id)

    def _saved(self, config: dict[str, Any], where: Path) -> tuple[OwnVariant, int, int]:
        """The options that a config.json holds, with this recipe's dropout; size of the vocabulary and padding's id."""
        if config.get("model_type") != f"braid-{self.type}":
            kind = str(config.get("model_type")).removeprefix("braid-")
            raise BraidError(f"{where}: a {kind!r} encoder; the recipe says `type: {self.type}`")
        options = config.get("braid")
        if not isinstance(options, dict):
            raise BraidError(f"{where}: `braid` holds no options")
        given = options if self.dropout is None else {**options, "dropout": self.dropout}
        try:
            variant = type(self).model_validate({**given, "type": self.type})
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:SHOWN]]
            raise BraidError(f"{where}: wrong options of the encoder:\n    " + "\n    ".join(wrong)) from error
        vocab_size = _whole(config, "vocab_size", where, least=1, most=MAX_VOCABULARY)
        return variant, vocab_size, _whole(config, "pad_token_id", where, least=0, most=vocab_size - 1)

    def embeddings(self, vocab_size: int) -> TokenEmbeddings:
        """Fresh embeddings."""
        return TokenEmbeddings(
            self.embedding,
            vocab_size,
            self.embedding_size or self.hidden_size,
            self.hidden_size,
            positions=self.max_positions,
            dropout=self.rate,
        )

    @property
    def rate(self) -> float:
        """Dropout."""
        return 0.1 if self.dropout is None else self.dropout


class OwnEncoder(Encoder):
    """Base of their modules: embeddings, and layers whose parameters begin with `layers.N.`."""

    def __init__(self, variant: OwnVariant, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        self.variant, self.pad_id = variant, pad_id
        self.hidden_size, self.n_layers, self.vocab_size = variant.hidden_size, variant.layers, vocab_size
        learned = variant.embedding == "word_position_segment"
        self.max_positions = variant.max_positions if learned else None
        self.embeddings = variant.embeddings(vocab_size)

    @property
    def word_embeddings(self) -> Tensor:
        """[V, M]; M is the embedding size."""
        return self.embeddings.word.weight

    def embedded(self, batch: Batch) -> Tensor:
        """The tokens' vectors [T, D]. Raises BraidError for a row that is longer than the positions."""
        if self.max_positions is not None and batch.max_length > self.max_positions:
            raise BraidError(
                f"a row of {batch.max_length:,} tokens is longer than the encoder's {self.max_positions:,} positions"
            )
        embedded: Tensor = self.embeddings(batch.ids, batch.positions, batch.segments)
        return embedded

    def layer_of(self, name: str) -> int:
        """0 for the embeddings; what stands neither there nor in a layer belongs to the last one."""
        parts = name.split(".")
        if parts[0] == "embeddings":
            return 0
        return int(parts[1]) + 1 if parts[0] == "layers" else self.n_layers

    def hf_config(self) -> dict[str, Any]:
        """config.json: transformers' names for what has one there, all options under `braid`."""
        options = self.variant.model_dump(mode="json", exclude={"type", *EncoderConfig.model_fields})
        return {
            "architectures": [type(self).__name__],
            "model_type": f"braid-{self.variant.type}",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.n_layers,
            "pad_token_id": self.pad_id,
            "torch_dtype": str(self.word_embeddings.dtype).removeprefix("torch."),
            "braid": options,
        }

    def hf_state(self) -> dict[str, Tensor]:
        """The module's own weights."""
        return dict(self.state_dict())


def _whole(config: Mapping[str, Any], key: str, where: Path, *, least: int, most: int) -> int:
    """A whole number of a config.json. Raises BraidError for anything else."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BraidError(f"{where}: {key} is {value!r}, not in {least:,}..{most:,}")
    return value


def _check_weights(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], directory: Path
) -> None:
    """Every tensor there, of the size that the config says, and none that the encoder would leave out. Raises
    BraidError naming all that are not."""
    # Tensors elsewhere, as of a head, are none of its business.
    parts = {name.split(".")[0] for name in expected}
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} has no place" for name in found if name not in expected and name.split(".")[0] in parts]
    wrong += [
        f"{name} is {list(found[name])}, config.json says {list(size)}"
        for name, size in expected.items()
        if found.get(name, size) != size
    ]
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        lines = [f"the weights in {directory} do not fit its config.json:", *wrong[:SHOWN], *more]
        raise BraidError("\n    ".join(lines))
