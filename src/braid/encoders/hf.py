"""hf: any other encoder of transformers (DeBERTa, MPNet, LLaMA, ...), padded block by block.

transformers' modules want padded rows, so this encoder pads, once per block of rows of similar length. Where `bert`,
`modernbert` or `gpt` knows the model, it is faster.

Shape legend: T tokens of the batch, D hidden size, b rows of one block, L its longest row, n its real tokens.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from torch import Tensor

from braid.data.batch import AttentionBlock, Batch
from braid.data.packing import WASTE, layout, restoring
from braid.encoders.base import Continuation, Encoder, EncoderVariant
from braid.encoders.hf_sight import sight_of
from braid.encoders.rereading import Rereading
from braid.encoders.weights import Checkpoint, read_config
from braid.errors import BraidError

_ROBERTA_LIKE = ("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod")
_OTHERS = ("data2vec-text", "mpnet", "longformer", "ibert", "esm", "luke", "mluke")
POSITIONS_AFTER_PADDING = frozenset(_ROBERTA_LIKE + _OTHERS)
"""Types whose first token stands at position pad id + 1, so that as many positions fewer are left for tokens."""

SEE_PADDING = frozenset(("convbert", "fnet"))
"""Types that mix neighbours without regard to the attention mask (convolutions, Fourier transforms). Only
rows of equal length go together in them, so that there is no padding to see."""

MAX_LAYERS, MAX_WEIGHT = 1000, 2**36
"""What no encoder in use comes near; a configuration beyond it is a mistake and would exhaust the memory."""


USUAL = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError, SafetensorError)
"""What transformers raises about a model that it cannot make."""


class HfEncoder(Encoder):
    """A transformers model behind our interface. *model*: what `AutoModel` made."""

    def __init__(self, model: Any, *, pad_id: int) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.pad_id = pad_id
        self.hidden_size = int(config.hidden_size)
        self.n_layers = int(config.num_hidden_layers)
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])
        positions = getattr(config, "max_position_embeddings", None)
        shift = pad_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0
        # XLNet and its like say -1 for "any length".
        self.max_positions = int(positions) - shift if positions and positions > 0 else None
        accepted = inspect.signature(model.forward).parameters
        # GPT-2 takes token types too, but looks them up among its words.
        self.has_segments = "token_type_ids" in accepted and (getattr(config, "type_vocab_size", 0) or 0) > 1
        self.waste = 0.0 if config.model_type in SEE_PADDING else None
        # A cache of keys and values serves generation; here it would only hold memory.
        self.fixed: dict[str, Any] = {"use_cache": False} if "use_cache" in accepted else {}
        self.reading: tuple[AttentionBlock, Tensor] | None = None
        """The block that is being read, and its ids."""
        self.sees = sight_of(model, pad_id=pad_id)

    @property
    def word_embeddings(self) -> Tensor:
        """[V, M], as the model itself names its input embeddings."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    def continuation(self, batch: Batch) -> Continuation:
        """The rows of a batch, ready to be written on; `type: gpt` does it faster."""
        return Rereading(self, batch) if self.sees == "left" else super().continuation(batch)

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Last hidden state [T, D] (after a final norm, where the model has one) and each layer's [T, D], the
        embeddings first."""
        blocks, restore = _blocks_of(batch, self.waste)
        outputs = [self._run(batch, block) for block in blocks]
        joined: list[Tensor] = []
        for parts in zip(*outputs, strict=True):
            hidden_TD = parts[0] if len(parts) == 1 else torch.cat(parts)
            joined.append(hidden_TD if restore is None else hidden_TD.index_select(0, restore))
        return joined[0], tuple(joined[1:])

    def _run(self, batch: Batch, block: AttentionBlock) -> list[Tensor]:
        """The last and then every layer's hidden states [n, D] of one block, in the order of `block.tokens`."""
        keep_bL = block.keep
        if keep_bL is None:
            keep_bL = torch.ones(block.rows, block.longest, dtype=torch.bool, device=batch.ids.device)

        def spread(values_T: Tensor, fill: int) -> Tensor:
            padded = values_T.new_full((block.rows * block.longest,), fill)
            return padded.index_copy(0, block.places, values_T.index_select(0, block.tokens)).view(block.rows, -1)

        segments = {"token_type_ids": spread(batch.segments, 0)} if self.has_segments else {}
        ids_bL = spread(batch.ids, self.pad_id)
        self.reading = block, ids_bL
        out = self.model(
            input_ids=ids_bL,
            attention_mask=keep_bL.long(),
            output_hidden_states=True,
            return_dict=True,
            **segments,
            **self.fixed,
        )
        states = [out.last_hidden_state, *out.hidden_states]
        flat = [state.reshape(block.rows * block.longest, -1) for state in states]
        return flat if block.keep is None else [state.index_select(0, block.places) for state in flat]

    def placed(self, values_TM: Tensor, ids: Tensor) -> Tensor:
        """As the block that is read lies, with zeros for padding; XLNet turns it on its side."""
        assert self.reading is not None
        block, ids_bL = self.reading
        padded = values_TM.new_zeros(block.rows * block.longest, values_TM.shape[1])
        padded = padded.index_copy(0, block.places, values_TM.index_select(0, block.tokens))
        values_bLM = padded.view(block.rows, block.longest, -1)
        if ids.shape == ids_bL.shape and torch.equal(ids, ids_bL):
            return values_bLM
        if ids.shape == ids_bL.T.shape and torch.equal(ids, ids_bL.T):
            return values_bLM.transpose(0, 1)
        raise BraidError("this model looks other words up than it is given, so that nothing can be added to them")

    def layer_of(self, name: str) -> int:
        """By the first number in the name (`h.3.`, `encoder.layer.3.`); without one, embeddings are 0 and what comes
        after the layers (final norm, pooler) counts as the last layer."""
        number = re.search(r"\.(\d+)\.", name)
        if number:
            return min(int(number[1]) + 1, self.n_layers)
        return 0 if re.search(r"embed|\.w[tp]e\.", name) else self.n_layers

    def hf_config(self) -> dict[str, Any]:
        """The model's configuration with every default filled in."""
        config: dict[str, Any] = json.loads(self.model.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)
        config["architectures"] = [type(self.model).__name__]
        config["dtype"] = str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        return config

    def hf_state(self) -> dict[str, Tensor]:
        """The model's own weights."""
        return dict(self.model.state_dict())


class Hf(EncoderVariant):
    """Any encoder of transformers that has no type of its own here, run by transformers' own code."""

    type: Literal["hf"] = "hf"

    config: dict[str, Any] | None = None
    """For training from scratch: transformers' settings, `{model_type: mpnet, hidden_size: 256, ...}`. The size of the
    vocabulary and the padding's id are set to the tokenizer's."""

    attention: Literal["sdpa", "eager"] = Field(default="sdpa")
    """How transformers computes attention. A model that knows no `sdpa` gets `eager`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Hf:
        if self.pretrained is not None and self.config is not None:
            raise ValueError("`config` is for training from scratch; with `pretrained` the checkpoint has its own")
        return self

    def build(self, *, vocab_size: int, pad_id: int) -> Encoder:
        if not self.config or "model_type" not in self.config:
            raise BraidError(
                "encoder: type hf needs `pretrained`, or for training from scratch a `config` with transformers' "
                "settings, at least `model_type`"
            )
        from transformers import AutoConfig, AutoModel

        settings = {**self.config, "vocab_size": vocab_size, "pad_token_id": pad_id}
        kind = str(settings.pop("model_type"))
        with _told("encoder.config"):
            config = AutoConfig.for_model(kind, **settings)
        _check_config(config, "encoder.config")
        with _told("encoder.config"):
            model = self._with_attention(lambda name: AutoModel.from_config(config, attn_implementation=name))
        return _encoder(model, "encoder.config", pad_id=pad_id)

    def load(self, directory: Path) -> Encoder:
        raw = read_config(directory)
        where = str(directory)
        if raw.get("auto_map"):
            raise BraidError(f"{where}: this model brings its own code (`auto_map`), which Braid never runs")
        shapes = Checkpoint(directory).shapes
        from transformers import AutoConfig, AutoModel

        with _told(where):
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        _check_config(config, where)
        _check_vocabulary(config, shapes, where)
        with _told(where):
            model, info = self._with_attention(
                lambda name: AutoModel.from_pretrained(
                    directory,
                    config=config,
                    use_safetensors=True,
                    trust_remote_code=False,
                    dtype=torch.float32,
                    attn_implementation=name,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # told below, with the sizes
                )
            )
        # Hidden states do not pass through the pooler; checkpoints of language models come without one.
        missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
        if missing:
            raise BraidError(f"the weights in {where} lack {len(missing)} tensors: {', '.join(missing[:20])}")
        misfits = [
            f"{name} is {list(is_)}, config.json says {list(says)}" for name, is_, says in info["mismatched_keys"]
        ]
        if misfits:
            raise BraidError(
                f"the weights in {where} do not fit its config.json:\n    " + "\n    ".join(sorted(misfits)[:20])
            )
        return _encoder(model, where, pad_id=int(getattr(config, "pad_token_id", None) or 0))

    def _with_attention(self, make: Callable[[str], Any]) -> Any:
        """What `make` makes with the attention asked for, with eager attention where the model knows no other."""
        try:
            return make(self.attention)
        except ValueError as error:
            if self.attention == "eager" or "attention" not in str(error):
                raise
            return make("eager")

    @classmethod
    def contract_variants(cls) -> Sequence[dict[str, Any]]:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        return [{"config": {"model_type": kind, "max_position_embeddings": 80, **sizes}} for kind in ("mpnet", "llama")]


def _blocks_of(batch: Batch, waste: float | None) -> tuple[Sequence[AttentionBlock], Tensor | None]:
    """The batch's blocks and what restores its order; laid out anew for a *waste* of one's own, or without blocks."""
    if batch.blocks and waste is None:
        return batch.blocks, batch.restore
    blocks = layout(batch.cu_seqlens.diff().tolist(), waste=WASTE if waste is None else waste)
    moved = replace(batch, blocks=blocks, restore=restoring(blocks), targets={}).to(batch.ids.device)
    return moved.blocks, moved.restore


def _encoder(model: Any, where: str, *, pad_id: int) -> HfEncoder:
    try:
        return HfEncoder(model, pad_id=pad_id)
    except (*USUAL, IndexError) as error:
        raise BraidError(f"{where}: {type(model).__name__} is no text encoder that Braid can drive: {error}") from error


def _check_config(config: Any, where: str) -> None:
    """Refuse what is no encoder and what no machine holds. Raises BraidError."""
    if getattr(config, "is_encoder_decoder", False):
        raise BraidError(f"{where}: {config.model_type!r} is an encoder with a decoder; Braid needs an encoder alone")
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not isinstance(layers, int) or not isinstance(hidden, int) or layers < 1 or hidden < 1:
        raise BraidError(f"{where}: {config.model_type!r} is no text encoder: it has no layers of one hidden size")
    vocabulary = getattr(config, "vocab_size", None) or 1
    inner = getattr(config, "intermediate_size", None) or 1
    positions = getattr(config, "max_position_embeddings", None) or 1
    if layers > MAX_LAYERS or hidden * max(hidden, vocabulary, inner, positions) > MAX_WEIGHT:
        raise BraidError(
            f"{where} asks for {layers:,} layers of {hidden:,} with {vocabulary:,} tokens and {positions:,} positions, "
            "which cannot be meant"
        )


def _check_vocabulary(config: Any, shapes: dict[str, tuple[int, ...]], where: str) -> None:
    """Refuse a configuration whose word embeddings are not in the file, before anything of that size is allocated."""
    vocabulary = getattr(config, "vocab_size", None)
    if not vocabulary or any(vocabulary in shape for shape in shapes.values()):
        return
    largest = max(shapes.items(), key=lambda item: max(item[1], default=0), default=("nothing", ()))
    raise BraidError(
        f"{where}: config.json says vocab_size {vocabulary:,}, but no tensor of the weights has that size "
        f"(the longest is {largest[0]}, {list(largest[1])})"
    )


@contextmanager
def _told(where: str) -> Iterator[None]:
    """transformers' errors about a model as a BraidError with the place and the first lines of the message."""
    try:
        yield
    except BraidError:
        raise
    except USUAL as error:
        told = [line for line in str(error).splitlines() if line.strip()][:3]
        raise BraidError(f"{where}: {' '.join(told) or type(error).__name__}") from error
    except Exception as error:  # huggingface_hub's strict configurations raise errors of their own
        if type(error).__module__.startswith(("huggingface_hub", "transformers")):
            raise BraidError(f"{where}: {' '.join(str(error).split())}") from error
        raise
