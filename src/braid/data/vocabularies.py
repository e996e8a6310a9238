"""Tokenizers from files, and new ones from texts: WordPiece, BPE, unigram, characters, words.

All of ours put `[CLS]` in front of a text and `[SEP]` behind it, and between the two of a pair, as BERT does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from braid.data.tokens import Tokenizer, clean
from braid.errors import BraidError

VocabularyType = Literal["wordpiece", "bpe", "unigram", "character", "word"]
"""`wordpiece`: pieces of words, Chinese characters apart (BERT). `bpe`: byte-level pairs, which spell any string
(GPT-2). `unigram`: SentencePiece's. `character`: each character. `word`: what stands between spaces."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
"""Characters that BERT's normaliser sets apart with spaces: they never continue a word."""

_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MAX_JSON_BYTES = 200_000_000
BATCH = 1000
"""Texts that a trainer is given at a time."""

Read = Callable[[], Iterable[str]]
"""Reads the texts, once for each time that it is called."""


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a directory in transformers' layout (tokenizer.json, else what AutoTokenizer reads)."""
    files = {name: _json(directory / name) for name in _CONFIG_FILES if (directory / name).is_file()}
    if (directory / "tokenizer.json").is_file():
        return Tokenizer(_rust_from_file(directory / "tokenizer.json"), files)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False)
        rust = RustTokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as error:
        if (directory / "vocab.txt").is_file():
            lowercase = bool(files.get("tokenizer_config.json", {}).get("do_lower_case", True))
            return tokenizer_from_vocab(directory / "vocab.txt", lowercase=lowercase)
        raise BraidError(f"no usable tokenizer in {directory}: {error}") from error
    if not files:
        files = _config_files(loaded.model_max_length)
    return Tokenizer(rust, files)


def tokenizer_from_vocab(path: Path, *, lowercase: bool) -> Tokenizer:
    """A tokenizer for training from scratch: BERT's WordPiece over a vocab.txt, a tokenizer.json, a SentencePiece
    `.model`, GPT-2's vocabulary with its merges beside it, or a directory.

    Raises BraidError for what is none of these, or lacks what a tokenizer needs."""
    if path.is_dir():
        return load_tokenizer(path)
    if not path.is_file():
        raise BraidError(f"encoder.vocab: there is no file {path.resolve()}")
    merges = path.with_name(path.name.replace("vocab", "merges")).with_suffix(".txt")
    if "vocab" in path.name and merges.is_file():
        return _byte_pairs(path, merges)
    if path.suffix == ".model":
        return _sentencepiece(path)
    if path.suffix == ".json":
        return Tokenizer(_rust_from_file(path), _config_files())
    lines = path.read_text(encoding="utf-8").split("\n")
    vocab = {token.rstrip("\r"): number for number, token in enumerate(lines) if token.rstrip("\r")}
    missing = [token for token in SPECIAL_TOKENS[:4] if token not in vocab]
    if missing:
        raise BraidError(f"{path}: the vocabulary lacks {', '.join(missing)}, one token a line each")
    return _bert(vocab, lowercase=lowercase)


def _sentencepiece(path: Path) -> Tokenizer:
    """A SentencePiece model as a tokenizer of ours. Raises BraidError where a library for it is missing."""
    try:
        from transformers.convert_slow_tokenizer import import_protobuf

        proto = import_protobuf().ModelProto()
        proto.ParseFromString(path.read_bytes())
    except ImportError as error:
        raise BraidError(f"{path}: reading SentencePiece models needs `pip install sentencepiece protobuf`") from error
    except Exception as error:
        raise BraidError(f"{path}: not a SentencePiece model: {error}") from error
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if proto.trainer_spec.model_type != 1:
        raise BraidError(f"{path}: a SentencePiece model of another kind than unigram; convert it to tokenizer.json")
    rust = RustTokenizer(models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id))
    steps: list[Any] = [normalizers.Replace(Regex(" {2,}"), " ")]
    if proto.normalizer_spec.precompiled_charsmap:
        steps.insert(0, normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    rust.normalizer = normalizers.Sequence(steps)
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    unknown = pieces[proto.trainer_spec.unk_id][0]
    return _finished(rust, unk=unknown, whole=True)


def _byte_pairs(vocab: Path, merges: Path) -> Tokenizer:
    """GPT-2's: a vocabulary (JSON, or a token a line) and the merges beside it."""
    try:
        text = vocab.read_text(encoding="utf-8")
        tokens = json.loads(text) if vocab.suffix == ".json" else {t: k for k, t in enumerate(text.split("\n")) if t}
        lines = merges.read_text(encoding="utf-8").split("\n")
        pairs = [(a, b) for line in lines if not line.startswith("#version") and line for a, b in [line.split(" ")]]
        rust = RustTokenizer(models.BPE(tokens, pairs))
    except Exception as error:
        raise BraidError(f"{vocab} and {merges} are no byte-pair vocabulary: {error}") from error
    return _byte_level(rust, whole=True)


def train(kind: VocabularyType, read: Read, *, size: int, lowercase: bool, min_frequency: int = 0) -> Tokenizer:
    """A vocabulary of at most `size` tokens from texts, of which no more than a few are held at a time.

    *min_frequency*: how often a token must occur. Raises BraidError where there is no text, or `size` is too small."""
    if not any(text.strip() for text in read()):
        raise BraidError("there is no text to make a vocabulary of")
    if kind == "wordpiece":
        return _train_wordpiece(read, size=size, lowercase=lowercase, min_frequency=min_frequency)
    rust, trainer = _MAKERS[kind](size, lowercase, min_frequency)
    rust.train_from_iterator(_batches(read()), trainer=trainer)
    return _byte_level(rust) if kind == "bpe" else _finished(rust)


def train_wordpiece(texts: Iterable[str], *, size: int, lowercase: bool) -> Tokenizer:
    """A WordPiece vocabulary of at most `size` pieces from texts; Chinese characters are pieces of their own."""
    held = list(texts)
    return _train_wordpiece(lambda: held, size=size, lowercase=lowercase, min_frequency=0)


def _train_wordpiece(read: Read, *, size: int, lowercase: bool, min_frequency: int) -> Tokenizer:
    rust = RustTokenizer(models.WordPiece(unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers continuation characters in the order of a hash map that is seeded anew each time, and ties
    # between merges follow these numbers. Given as special tokens they have fixed numbers, and so has all else.
    seen: set[str] = set()
    for text in read():
        seen.update(rust.normalizer.normalize_str(clean(text)))
    characters = sorted(c for c in seen if not c.isspace() and not _HAN.match(c))
    fixed = [*SPECIAL_TOKENS, *(f"##{character}" for character in characters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=fixed, show_progress=False, min_frequency=min_frequency
    )
    rust.train_from_iterator(_batches(read()), trainer=trainer)
    return _bert(rust.get_vocab(with_added_tokens=True), lowercase=lowercase)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(clean(text))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _bert(vocab: dict[str, int], *, lowercase: bool) -> Tokenizer:
    rust = RustTokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _finished(rust)


def _folded(lowercase: bool) -> Any:
    """Clean text, its case and accents folded or not, Chinese characters left where they are."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=lowercase, lowercase=lowercase
    )


def _bpe_maker(size: int, lowercase: bool, min_frequency: int) -> tuple[RustTokenizer, Any]:
    rust = RustTokenizer(models.BPE())
    if lowercase:
        rust.normalizer = normalizers.Lowercase()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size < len(alphabet) + len(SPECIAL_TOKENS):
        raise BraidError(
            f"a byte-level vocabulary has at least {len(alphabet) + len(SPECIAL_TOKENS)} tokens, not {size}"
        )
    return rust, trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(alphabet),
        min_frequency=min_frequency,
        show_progress=False,
    )


def _unigram_maker(size: int, lowercase: bool, min_frequency: int) -> tuple[RustTokenizer, Any]:
    rust = RustTokenizer(models.Unigram())
    rust.normalizer = normalizers.Sequence([normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])])
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    return rust, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_TOKENS), unk_token="[UNK]", show_progress=False
    )


def _word_maker(size: int, lowercase: bool, min_frequency: int) -> tuple[RustTokenizer, Any]:
    rust = RustTokenizer(models.WordLevel(unk_token="[UNK]"))
    rust.normalizer = _folded(lowercase)
    rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return rust, trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_TOKENS), min_frequency=min_frequency, show_progress=False
    )


def _character_maker(size: int, lowercase: bool, min_frequency: int) -> tuple[RustTokenizer, Any]:
    rust, trainer = _word_maker(size, lowercase, min_frequency)
    single = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), single])
    return rust, trainer


_MAKERS: dict[str, Callable[[int, bool, int], tuple[RustTokenizer, Any]]] = {
    "bpe": _bpe_maker,
    "unigram": _unigram_maker,
    "word": _word_maker,
    "character": _character_maker,
}


def _byte_level(rust: RustTokenizer, *, whole: bool = False) -> Tokenizer:
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    return _finished(rust, whole=whole)


def _finished(rust: RustTokenizer, *, unk: str = "[UNK]", whole: bool = False) -> Tokenizer:
    """With its special tokens, and where they stand. *whole*: those that it lacks are added, but for the one for what
    is unknown."""
    known = rust.get_vocab()
    wanted = [unk if token == "[UNK]" else token for token in SPECIAL_TOKENS]
    rust.add_special_tokens([token for token in wanted if token in known or (whole and token != unk)])
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, rust.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    # Scores lose their last bits on the way to JSON and back; as they are read again, they are the same for ever.
    return Tokenizer(RustTokenizer.from_str(rust.to_str()), _config_files(unk=unk))


def _config_files(max_length: int = 512, *, unk: str = "[UNK]") -> dict[str, Any]:
    pad, _, cls, sep, mask = SPECIAL_TOKENS
    names = {"pad_token": pad, "unk_token": unk, "cls_token": cls, "sep_token": sep, "mask_token": mask}
    return {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": min(max_length, 1_000_000),
            **names,
        }
    }


def _rust_from_file(path: Path) -> RustTokenizer:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BraidError(f"{path}: {path.stat().st_size:,} bytes is too large for a tokenizer.json")
    try:
        return RustTokenizer.from_file(str(path))
    except Exception as error:
        raise BraidError(f"{path}: not a tokenizer.json that can be read: {error}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BraidError(f"{path}: not valid JSON: {error}") from error
