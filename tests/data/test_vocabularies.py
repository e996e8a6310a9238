"""Vocabularies of every kind: what they hold, that they keep offsets, that they are made alike each time."""

from __future__ import annotations

import hashlib
import json
import os
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
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def trained(kind: Any, **options: Any) -> Tokenizer:
    return train(kind, lambda: TEXTS, **{"size": SIZES[kind], "lowercase": True, **options})


WORDPIECE = {flag: trained("wordpiece", lowercase=flag) for flag in (True, False)}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return trained(request.param)


def spelt(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.tokens(tokenizer.encode_ids([text])[0].tolist())


def test_every_kind_has_the_special_tokens_and_places_them(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert ids == [0, 1, 2, 3, 4]
    assert tokenizer.tokens([0, 1, 2, 3, 4]) == SPECIAL
    assert tokenizer.special_ids == set(ids)
    template = tokenizer.template
    assert (template.prefix.tolist(), template.suffix.tolist()) == ([tokenizer.cls_id], [tokenizer.sep_id])
    assert template.pair_segments == (0, 0, 0, 1, 1)


def test_ids_without_offsets_are_those_with(tokenizer: Tokenizer) -> None:
    texts = [*TEXTS[:4], "", "[SEP] typed", "\ud800 lone", "emoji 😀 and ｆｕｌｌ"]
    for fast, slow in zip(tokenizer.encode_ids(texts), tokenizer.encode_batch(texts), strict=True):
        assert fast.tolist() == slow.ids.tolist()


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


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_spells_a_special_token(kind: str) -> None:
    texts = [*TEXTS, *["a [SEP] b [CLS]c [MASK]"] * 9]
    tokenizer = train(kind, lambda: texts, size=400, lowercase=False)  # type: ignore[arg-type]
    for text in ("[SEP]", "the [MASK] quick[CLS]", "[PAD] 北京[SEP]"):
        assert not {0, 2, 3, 4} & set(tokenizer.encode_ids([text])[0].tolist())


@pytest.mark.parametrize("text", ["Paris is 很 nice", "crème brûlée  twice", "北京😀上海", "a\u200bb ﬁne Ｗｉｄｅ"])
def test_every_word_has_a_token_inside_of_it(tokenizer: Tokenizer, text: str) -> None:
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


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(
        alphabet=st.one_of(
            st.characters(),
            st.sampled_from("我北京。，ａＢ１é\u0301🙂👩\u200d🔬\u0000\u200b\u3000 \ud800aB1가か\u3099ﬁ"),
        ),
        max_size=40,
    ),
    units=st.sampled_from(["none", "words", "characters"]),
)
def test_offsets_point_into_the_users_own_string(tokenizer: Tokenizer, text: str, units: Any) -> None:
    options = WindowOptions(max_length=48, stride=4, units=units, layout="windows")
    for row in next(iter(tokenise([Example(text)], tokenizer, options))):
        assert row.offsets.min(initial=0) >= 0
        assert row.offsets.max(initial=0) <= len(text)
        assert (row.offsets[:, 0] <= row.offsets[:, 1]).all()
        for unit, token in enumerate(row.unit_tokens.tolist(), row.first_unit):
            assert 0 <= token < len(row.ids)
            start, end = row.offsets[token].tolist()
            a, b = row.units[unit].tolist()
            if units == "characters" and a <= start < min(b, end):
                assert end <= b, "a piece of characters never spans two of them"


@pytest.mark.parametrize("words", [("the", "quick", "'s", "我们", "北京", "."), ("北", "京", "e\u0301", "😀", "Ｆ")])
def test_given_words_never_share_a_token(tokenizer: Tokenizer, words: tuple[str, ...]) -> None:
    example = Example("".join(words), words=words)
    options = WindowOptions(max_length=64, stride=8, units="words")
    row = next(iter(tokenise([example], tokenizer, options)))[0]
    assert len(set(row.unit_tokens.tolist())) == len(words)
    for (low, high), place in zip(row.units.tolist(), row.unit_tokens.tolist(), strict=True):
        start, end = row.offsets[place].tolist()
        assert low <= start <= end <= high


def test_offsets_do_not_hold_the_space_before_a_word(tokenizer: Tokenizer) -> None:
    text = "the  quick\tfox"
    tokens = next(tokenizer.encode_batch([text]))
    begins = [low for low, high in tokens.offsets.tolist() if text[low:high].strip()]
    assert not any(text[low].isspace() for low in begins)
    assert {0, 5, 11} <= set(begins)


def test_byte_pairs_spell_any_string() -> None:
    tokenizer = trained("bpe", lowercase=None)
    for text in ("Überraschung! 😀\n\ttabs", "漢字かな交じり文", "a  b   c ", "\x00\u200b\ufeff é e\u0301 [SEP]<s>"):
        assert tokenizer.decode(tokenizer.encode_ids([text])[0].tolist()) == text


def test_characters_are_single_and_keep_spaces_between_words() -> None:
    tokenizer = trained("character")
    assert spelt(tokenizer, " The  fox 北京 ") == [*"the▁fox北京"]
    assert tokenizer.decode(tokenizer.encode_ids(["the fox 北京 大"])[0].tolist()) == "the fox北京大"
    assert spelt(tokenizer, "é在") == ["é", "在"]


def test_words_are_what_stands_between_spaces() -> None:
    assert spelt(trained("word"), "the QUICK dog, never") == ["the", "quick", "dog,", "[UNK]"]


def test_unigrams_know_where_words_begin() -> None:
    tokenizer = trained("unigram")
    assert spelt(tokenizer, "ａｎｄ")[0].startswith("▁")
    assert tokenizer.decode(tokenizer.encode_ids(["again and 北京"])[0].tolist()) == "again and 北京"


@pytest.mark.parametrize("kind", KINDS)
def test_case_is_folded_where_it_is_asked_for(kind: str) -> None:
    kept, folded, default = (trained(kind, lowercase=flag) for flag in (False, True, None))
    assert folded.encode_ids(["THE"])[0].tolist() == folded.encode_ids(["the"])[0].tolist()
    assert kept.encode_ids(["THE"])[0].tolist() != kept.encode_ids(["the"])[0].tolist()
    assert default.sha256 == (kept if kind == "bpe" else folded).sha256


def test_a_vocabulary_is_no_larger_than_asked(tokenizer: Tokenizer) -> None:
    assert 5 < tokenizer.vocab_size <= max(SIZES.values())


def test_other_processes_make_the_same_vocabularies() -> None:
    code = (
        f"from braid.data.vocabularies import train\ntexts = {TEXTS!r}\n"
        f"for kind, size in {SIZES!r}.items(): print(train(kind, lambda: texts, size=size, lowercase=True).sha256)"
    )
    expected = "".join(f"{trained(kind).sha256}\n" for kind in SIZES)
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, capture_output=True, text=True, env=environment).stdout == expected


def test_word_pieces_are_those_that_they_always_were() -> None:
    """Token caches and models that were trained before know them by their ids."""
    tokens = WORDPIECE[True].tokens(range(WORDPIECE[True].vocab_size))
    assert hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16] == "eb9e6ad91fbbf480"


def test_rare_characters_get_no_token() -> None:
    texts = ["abc abd abc 北京"] * 3 + ["z 东"]
    for kind in ("wordpiece", "unigram", "character"):
        tokenizer = train(kind, lambda: texts, size=60, min_frequency=2)  # type: ignore[arg-type]
        known = set("".join(tokenizer.tokens(range(5, tokenizer.vocab_size))))
        assert {*"abc北京"} <= known
        assert not {*"z东"} & known
        assert tokenizer.unk_id in tokenizer.encode_ids(["东"])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_an_error(kind: Any) -> None:
    with pytest.raises(BraidError, match="no text"):
        train(kind, list, size=400, lowercase=True)
    with pytest.raises(BraidError, match="no room"):
        trained(kind, size=5)


def test_texts_are_read_once_for_each_pass() -> None:
    """So that they may be a file that is opened anew."""
    opened: list[int] = []

    def read() -> Any:
        opened.append(1)
        return iter(TEXTS)

    assert train("wordpiece", read, size=400, lowercase=True).sha256 == WORDPIECE[True].sha256
    assert len(opened) == 3


def test_what_is_saved_is_what_transformers_reads(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    text = "the quick 北京 fox"
    ours = [*tokenizer.template.prefix, *tokenizer.encode_ids([text])[0], *tokenizer.template.suffix]
    assert theirs(text)["input_ids"] == [int(k) for k in ours]
    assert theirs.mask_token_id == tokenizer.mask_id
    assert load_tokenizer(tmp_path).sha256 == tokenizer.sha256


@pytest.mark.parametrize("kind", ["wordpiece", "character", "word"])
def test_a_plain_list_is_read_as_its_kind(kind: Any, tmp_path: Path) -> None:
    made = trained(kind)
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in made.tokens(range(made.vocab_size))), encoding="utf-8")
    again = tokenizer_from_vocab(path, lowercase=True, kind=kind)
    for text in TEXTS[:4]:
        assert again.encode_ids([text])[0].tolist() == made.encode_ids([text])[0].tolist()
    with pytest.raises(BraidError, match="no unigram vocabulary"):
        tokenizer_from_vocab(path, kind="unigram")


def test_characters_of_a_list_without_a_space_have_none_between(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *"abc"]), encoding="utf-8")
    assert spelt(tokenizer_from_vocab(path, kind="character"), "a b c") == ["a", "b", "c"]


def byte_pairs(folder: Path, *extra: str) -> Path:
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, "he", "Ġt", "Ġthe", *extra]
    (folder / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nh e\nĠ t\nĠt he\n", encoding="utf-8")
    return folder


def test_gpt2s_vocabulary_has_no_special_tokens_around_a_text(tmp_path: Path) -> None:
    folder = byte_pairs(tmp_path, "<|endoftext|>")
    for path in (folder, folder / "vocab.json"):
        tokenizer = tokenizer_from_vocab(path)
        assert tokenizer.template.single_cost == tokenizer.template.pair_cost == 0
        assert spelt(tokenizer, "he the<|endoftext|>")[:2] == ["he", "Ġthe"]
        assert tokenizer.special_ids == {259}
        assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (None, None, None)
        assert 259 not in tokenizer.encode_ids(["<|endoftext|>"])[0]
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(BraidError, match=r"there is no .*merges\.txt"):
        tokenizer_from_vocab(tmp_path / "vocab.json")


@pytest.mark.parametrize("units", ["none", "words", "characters"])
def test_an_empty_text_is_one_token_where_no_special_token_stands_around_it(tmp_path: Path, units: Any) -> None:
    tokenizer = tokenizer_from_vocab(byte_pairs(tmp_path, "<|endoftext|>"))
    options = WindowOptions(max_length=16, stride=4, units=units, layout="windows")
    for text, pair in (("", None), ("", "he"), ("the", ""), ("", "")):
        (row,) = next(iter(tokenise([Example(text, pair)], tokenizer, options)))
        assert len(row.ids) >= 1
        assert row.offsets.max() <= len(text or pair or "")
    (row,) = next(iter(tokenise([Example("")], tokenizer, options)))
    assert row.ids.tolist() == [259]
    assert [len(ids) for ids in tokenizer.encode_ids(["", "he"])] == [0, 1]


def test_robertas_names_stand_where_berts_would(tmp_path: Path) -> None:
    tokenizer = tokenizer_from_vocab(byte_pairs(tmp_path, "<s>", "</s>", "<mask>", "<pad>", "<unk>"))
    assert tokenizer.tokens([*tokenizer.template.prefix, *tokenizer.template.suffix]) == ["<s>", "</s>"]
    assert (tokenizer.mask_id, tokenizer.pad_id, tokenizer.unk_id) == (261, 262, 263)


def test_a_directory_without_a_vocabulary_says_what_it_might_have(tmp_path: Path) -> None:
    with pytest.raises(BraidError, match=r"it has no tokenizer\.json, vocab\.txt"):
        tokenizer_from_vocab(tmp_path)


def test_roles_are_also_read_from_the_special_tokens_map(tmp_path: Path) -> None:
    tokenizer = trained("word")
    tokenizer.files = {"special_tokens_map.json": {"mask_token": {"content": "fox"}}}
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).mask_id == tokenizer.rust.token_to_id("fox")


@pytest.mark.data
def test_the_public_gpt2_like_vocabulary_is_read(real_data: Path) -> None:
    tokenizer = tokenizer_from_vocab(real_data / "uer_models" / "huggingface_gpt2_vocab.txt", lowercase=False)
    text = "Hello world, it's  fine."
    ids = tokenizer.encode_ids([text])[0].tolist()
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens(ids)[:2] == ["Hello", "Ġworld"]
