"""What each kind of vocabulary is: how it normalises and splits a text, how it reads again, how it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from braid.data.special_tokens import SPECIAL_TOKENS, guard
from braid.data.units import CJK

VocabularyType = Literal["wordpiece", "bpe", "unigram", "character", "word"]
"""`wordpiece`: pieces of words, Chinese characters apart (BERT). `bpe`: byte-level pairs, which spell any string
(GPT-2). `unigram`: SentencePiece's. `character`: each character. `word`: what stands between spaces."""

SPACE = "\u2581"
"""What stands for a space, or for the beginning of a word, in vocabularies that keep them."""

LONGEST_UNIGRAM = 64
"""Characters that unigrams are learned from at once: their lattice takes space by its length."""


def tokenizer_of(kind: VocabularyType, model: Any, *, lowercase: bool) -> RustTokenizer:
    """A tokenizer of a kind, without special tokens, around its model."""
    rust = RustTokenizer(model)
    _DRESSED[kind](rust, lowercase)
    return rust


def empty_model(kind: VocabularyType) -> Any:
    """A model of a kind that is still to be trained."""
    if kind == "wordpiece":
        return models.WordPiece(unk_token="[UNK]")
    if kind in ("word", "character"):
        return models.WordLevel(unk_token="[UNK]")
    return models.BPE() if kind == "bpe" else models.Unigram()


def listed_model(kind: VocabularyType, ids: dict[str, int]) -> Any:
    """A model of a kind whose vocabulary is a plain list. Raises KeyError for other kinds."""
    listed: dict[str, Callable[[], Any]] = {
        "wordpiece": lambda: models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100),
        "character": lambda: models.WordLevel(ids, unk_token="[UNK]"),
        "word": lambda: models.WordLevel(ids, unk_token="[UNK]"),
    }
    return listed[kind]()


def trainer_of(kind: VocabularyType, *, size: int, min_frequency: int, fixed: list[str]) -> Any:
    """The Rust trainer of a kind. *fixed*: tokens behind the special ones whose ids are given."""
    special = [*SPECIAL_TOKENS, *fixed]
    if kind == "unigram":
        return trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="[UNK]", show_progress=False)
    shared: dict[str, Any] = {
        "vocab_size": size,
        "special_tokens": special,
        "min_frequency": min_frequency,
        "show_progress": False,
    }
    if kind == "wordpiece":
        return trainers.WordPieceTrainer(**shared)
    if kind == "bpe":
        return trainers.BpeTrainer(initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), **shared)
    return trainers.WordLevelTrainer(**shared)


def split_for_training(kind: VocabularyType, rust: RustTokenizer) -> None:
    """Let unigrams be learned from clauses, and from no more than some characters at once, where a text is written
    without spaces. A Latin word keeps its comma: the trainer only sees pieces that it finds in two different words."""
    if kind == "unigram":
        clause = pre_tokenizers.Split(Regex(f"(?<=[{CJK}])[^\\w{SPACE}]"), "isolated")
        short = pre_tokenizers.Split(Regex(f"[\\s\\S]{{{LONGEST_UNIGRAM}}}"), "isolated")
        rust.pre_tokenizer = pre_tokenizers.Sequence([rust.pre_tokenizer, clause, short])


def settled_model(kind: VocabularyType, trained: RustTokenizer) -> Any:
    """The model of a trained tokenizer, the same every time that it is trained on the same texts."""
    if kind == "wordpiece":
        return listed_model("wordpiece", trained.get_vocab(with_added_tokens=True))
    return _settled_unigrams(trained) if kind == "unigram" else trained.model


def _settled_unigrams(trained: RustTokenizer) -> Any:
    """The Rust trainer adds up in the order of a hash map that is seeded anew each time, so the last digits of scores
    differ. Characters that it pruned and had to take back get scores from the lowest on in steps of 0.0001, in the same
    order: here they all get the lowest."""
    pieces = json.loads(trained.to_str())["model"]["vocab"][len(SPECIAL_TOKENS) :]
    scores = {text: round(score, 4) for text, score in pieces}
    single = {text: score for text, score in pieces if len(text) == 1}
    lowest = min(single.values(), default=0.0)
    for text, score in single.items():
        steps = (score - lowest) / 0.0001
        if round(steps) < len(single) and abs(steps - round(steps)) < 0.01:
            scores[text] = round(lowest, 4)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return models.Unigram([*((token, 0.0) for token in SPECIAL_TOKENS), *ordered], unk_id=1)


def _clean(lowercase: bool) -> Any:
    """Without control characters, every kind of space a space; nothing of accents or Chinese characters is changed."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=lowercase
    )


def _wordpiece(rust: RustTokenizer, lowercase: bool) -> None:
    rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _bpe(rust: RustTokenizer, lowercase: bool) -> None:
    if lowercase:
        rust.normalizer = normalizers.Lowercase()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # Without this the offsets of a word begin at the space in front of it.
    rust.post_processor = processors.ByteLevel(trim_offsets=True)
    rust.decoder = decoders.ByteLevel()


def _unigram(rust: RustTokenizer, lowercase: bool) -> None:
    rust.normalizer = normalizers.Sequence([normalizers.NFKC(), _clean(lowercase)])
    words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    rust.pre_tokenizer = pre_tokenizers.Sequence([*words, guard(SPECIAL_TOKENS)])
    rust.decoder = decoders.Metaspace()


def _character(rust: RustTokenizer, lowercase: bool) -> None:
    """A space is a character between letters, and nothing beside Chinese characters."""
    known = rust.get_vocab()
    keeps = not known or SPACE in known
    beside = normalizers.Replace(Regex(f"(?<=[{CJK}]) +| +(?=[{CJK}])"), "")
    spaces = normalizers.Replace(Regex(" +"), SPACE if keeps else "")
    rust.normalizer = normalizers.Sequence([_clean(lowercase), beside, normalizers.Strip(), spaces])
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rust.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(SPACE, " ")])


def _word(rust: RustTokenizer, lowercase: bool) -> None:
    rust.normalizer = _clean(lowercase)
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), guard(SPECIAL_TOKENS)])


_DRESSED: dict[str, Callable[[RustTokenizer, bool], None]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "character": _character,
    "word": _word,
}
