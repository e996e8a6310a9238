"""Vocabularies of every kind: what they hold, that they keep offsets, that they are made alike each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.example import Example
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import VocabularyType, load_tokenizer, tokenizer_from_vocab, train
from braid.data.windows import WindowOptions, tokenise
from braid.errors import BraidError

KINDS = get_args(VocabularyType)
TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "北京大学的学生在北京学习，明天会更好。",
    "Café naïve résumé costs 100 € in Zürich.",
    "mixed 中文 and English words 混合 text",
] * 5
SIZES = {"wordpiece": 400, "bpe": 400, "unigram": 120, "character": 200, "word": 100}


def trained(kind: Any, **options: Any) -> Tokenizer:
    return train(kind, lambda: TEXTS, **{"size": SIZES[kind], "lowercase": True, **options})


WORDPIECE = {flag: trained("wordpiece", lowercase=flag) for flag in (True, False)}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return trained(request.param)


def test_every_kind_has_the_special_tokens_and_places_them(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert tokenizer.tokens([k for k in ids if k is not None]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.special_ids == set(ids)
    template = tokenizer.template
    assert (template.prefix.tolist(), template.suffix.tolist()) == ([tokenizer.cls_id], [tokenizer.sep_id])
    assert template.pair_segments == (0, 0, 0, 1, 1)


def test_ids_without_offsets_are_those_with(tokenizer: Tokenizer) -> None:
    texts = [*TEXTS[:4], "", "[SEP] typed", "\ud800 lone", "emoji 😀 and ｆｕｌｌ"]
    for fast, slow in zip(tokenizer.encode_ids(texts), tokenizer.encode_batch(texts), strict=True):
        assert fast.tolist() == slow.ids.tolist()
        assert tokenizer.sep_id not in fast


@pytest.mark.parametrize("text", ["Paris is 很 nice", "crème brûlée  twice", "北京😀上海", "a\u200bb ﬁne Ｗｉｄｅ"])
def test_offsets_are_those_of_the_users_string(tokenizer: Tokenizer, text: str) -> None:
    options = WindowOptions(max_length=64, stride=8, units="words")
    window = next(iter(tokenise([Example(text)], tokenizer, options)))[0]
    starts, ends = window.offsets[1:-1].T
    assert (starts <= ends).all()
    assert (np.diff(starts) >= 0).all()
    assert ends.max() <= len(text)
    for unit, place in zip(window.units, window.unit_tokens, strict=True):
        low, high = window.offsets[place]
        assert low < unit[1]
        assert high > unit[0] or not text[unit[0] : unit[1]].isprintable()


@settings(deadline=None, max_examples=300)
@given(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [
                "the",
                "quick",
                "北",
                "京",
                "é",
                "e\u0301",
                "\u0301",
                "\x0b",
                "\x1c",
                "\x85",
                "\u200b",
                "\u3000",
                "\xa0",
                " ",
                "\t",
                "ſ",
                "İ",
                "ẞ",
                "か\u3099",
                "\U00020000",
                "豈",
                ".",
                "，",
                "[SEP]",
                "##a",
                "x" * 120,
                "\ufffd",
                "\x00",
                "\u0e33",
                "ﬁ",
                "가",
            ]
        ),
        max_size=20,
    ),
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_words_by_themselves_have_the_tokens_of_the_text(lowercase: bool, text: str, parts: list[str]) -> None:
    tokenizer = WORDPIECE[lowercase]
    assert tokenizer._piecewise is not None
    for given_text in (text, "".join(parts)):
        slow = next(tokenizer.encode_batch([given_text])).ids.tolist()
        assert tokenizer.encode_ids([given_text])[0].tolist() == slow


def test_byte_pairs_spell_any_string() -> None:
    tokenizer = trained("bpe", lowercase=False)
    for text in ("Überraschung! 😀\n\ttabs", "漢字かな交じり文", "a  b   c"):
        assert tokenizer.decode(tokenizer.encode_ids([text])[0].tolist()) == text


def test_characters_and_words_are_what_they_say() -> None:
    characters, words = trained("character"), trained("word")
    assert characters.tokens(characters.encode_ids(["The 北京"])[0].tolist()) == ["t", "h", "e", "北", "京"]
    assert words.tokens(words.encode_ids(["the QUICK never"])[0].tolist()) == ["the", "quick", "[UNK]"]


@pytest.mark.parametrize("kind", KINDS)
def test_case_is_folded_where_it_is_asked_for(kind: str) -> None:
    kept, folded = (trained(kind, lowercase=flag) for flag in (False, True))
    assert folded.encode_ids(["THE"])[0].tolist() == folded.encode_ids(["the"])[0].tolist()
    assert kept.encode_ids(["THE"])[0].tolist() != kept.encode_ids(["the"])[0].tolist()


def test_a_vocabulary_is_no_larger_than_asked(tokenizer: Tokenizer) -> None:
    assert 5 < tokenizer.vocab_size <= max(SIZES.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])
def test_two_processes_make_the_same_vocabulary(kind: str) -> None:
    code = (
        f"from braid.data.vocabularies import train\ntexts = {TEXTS!r}\n"
        f"print(train({kind!r}, lambda: texts, size={SIZES[kind]}, lowercase=True).sha256)"
    )
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert found == {trained(kind).sha256 + "\n"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_an_error(kind: Any) -> None:
    with pytest.raises(BraidError, match="no text"):
        train(kind, list, size=400, lowercase=True)


def test_a_byte_level_vocabulary_has_all_bytes() -> None:
    with pytest.raises(BraidError, match="at least 261"):
        trained("bpe", size=100)


def test_what_is_saved_is_what_transformers_reads(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    text = "the quick 北京 fox"
    ours = [*tokenizer.template.prefix, *tokenizer.encode_ids([text])[0], *tokenizer.template.suffix]
    assert theirs(text)["input_ids"] == [int(k) for k in ours]
    assert load_tokenizer(tmp_path).sha256 == tokenizer.sha256


@pytest.mark.data
def test_a_sentencepiece_model_is_read(real_data: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    path = real_data / "uer_models" / "cluecorpussmall_spm.model"
    tokenizer = tokenizer_from_vocab(path, lowercase=False)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in ("北京是中国的首都。", "Hello world 你好", "２０２０年，ＡＢＣ"):
        assert tokenizer.encode_ids([text])[0].tolist() == theirs.encode(text)
    assert tokenizer.mask_id is not None


@pytest.mark.data
def test_gpt2s_vocabulary_is_read(real_data: Path) -> None:
    tokenizer = tokenizer_from_vocab(real_data / "uer_models" / "huggingface_gpt2_vocab.txt", lowercase=False)
    text = "Hello world, it's  fine."
    ids = tokenizer.encode_ids([text])[0].tolist()
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens(ids)[:2] == ["Hello", "Ġworld"]
