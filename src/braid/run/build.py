"""Recipe -> tokenizer and encoder; and back, a trained model -> its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from braid.checkpoint.model_files import save_encoder, save_tasks
from braid.config.recipe import Recipe
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import load_tokenizer, tokenizer_from_vocab, train
from braid.encoders.base import Encoder, EncoderVariant
from braid.encoders.pretrained import locate
from braid.errors import BraidError
from braid.model.corpora import sample_documents
from braid.model.network import BraidModel
from braid.parallel.world import ALONE, World
from braid.run.dataset import ReadData, label_texts, sample_texts

DEFAULT_MAX_LENGTH = 512


@dataclass(frozen=True)
class Parts:
    """Tokenizer and encoder, with the length of rows and the overlap of windows that they agree on."""

    tokenizer: Tokenizer
    encoder: Encoder
    max_length: int
    stride: int
    origin: Path | None = None
    """The directory that the encoder was loaded from."""


def build_tokenizer(recipe: Recipe, data: ReadData) -> tuple[Tokenizer, Path | None]:
    """The pretrained encoder's tokenizer (and its directory), the one that `encoder.vocab` names, or one trained on
    the training texts."""
    config = recipe.encoder
    if config.pretrained is not None:
        directory = locate(config.pretrained)
        return load_tokenizer(directory), directory
    if config.vocab is not None:
        made = tokenizer_from_vocab(Path(config.vocab), lowercase=config.lowercase, kind=config.vocab_type)
        return made, None
    texts = [*sample_texts(data, seed=recipe.seed), *label_texts(recipe, data), *sample_documents(recipe)]
    made = train(config.vocab_type, lambda: texts, size=config.vocab_size, lowercase=config.lowercase)
    return made, None


def build_parts(recipe: Recipe, data: ReadData, world: World = ALONE) -> Parts:
    """Tokenizer and encoder of a recipe. *world*: processes that must have the same. Raises BraidError where they do
    not fit each other."""
    variant = recipe.encoder
    assert isinstance(variant, EncoderVariant)
    tokenizer, directory = build_tokenizer(recipe, data)
    if world.size > 1:  # a trained vocabulary may differ where pieces tie
        rust, files = world.from_first((tokenizer.rust.to_str(), tokenizer.files))
        tokenizer = Tokenizer(type(tokenizer.rust).from_str(rust), files)
    if variant.keep_layers is not None and directory is None:
        raise BraidError("encoder.keep_layers: there is no `encoder.pretrained` whose layers could be kept")
    if directory is not None:
        encoder = variant.load(directory)
        if variant.keep_layers is not None:
            encoder.keep(variant.keep_layers)
    else:
        encoder = variant.build(vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id)
    if tokenizer.vocab_size > encoder.vocab_size:
        raise BraidError(
            f"the tokenizer has {tokenizer.vocab_size} tokens but the encoder's embedding only {encoder.vocab_size} "
            f"rows: they do not belong together ({directory})"
        )
    limit = encoder.max_positions
    max_length = variant.max_length or min(DEFAULT_MAX_LENGTH, limit or DEFAULT_MAX_LENGTH)
    if limit is not None and max_length > limit:
        raise BraidError(f"encoder.max_length: {max_length} is more than the encoder's {limit} positions")
    stride = max_length // 4 if variant.stride is None else variant.stride
    if stride > max_length // 2:
        raise BraidError(f"encoder.stride: {stride} is more than half of max_length {max_length}")
    return Parts(tokenizer, encoder, max_length, stride, directory)


def write_model(directory: Path, recipe: Recipe, parts: Parts, model: BraidModel) -> None:
    """Write `encoder/` and `tasks/` of a run."""
    for _, head in model.heads():
        if isinstance(pooler := getattr(head, "pooler", None), tuple):
            model.encoder.keep_pooler(*pooler)
    sha256 = save_encoder(
        directory,
        model.encoder,
        recipe.encoder,
        parts.tokenizer,
        max_length=parts.max_length,
        stride=parts.stride,
        precision=recipe.train.precision,
    )
    save_tasks(directory, model, sha256)
