"""Examples to token rows: offsets, units, windows, truncation, hostile strings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.cache import TokenRows, cache_key, record_batch
from braid.data.example import Example, Window
from braid.data.prepare import prepare
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import tokenizer_from_vocab, train_wordpiece
from braid.data.windows import WindowOptions, tokenise, units_of

TEXTS = ["the cat sat on the mat", "我们在北京的大学学习", "Hello world, 你好 2024!", "café naïve Straße ｆｕｌｌ"] * 5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(TEXTS, size=400, lowercase=True)


def rows_of(example: Example, tokenizer: Tokenizer, **options: object) -> list[Window]:
    given_options = {"max_length": 32, "stride": 8, "units": "none", "layout": "joint", **options}
    return next(tokenise([example], tokenizer, WindowOptions(**given_options)))  # type: ignore[arg-type]


text = st.text(
    alphabet=st.one_of(
        st.characters(), st.sampled_from("我北京。，ａＢ１é\u0301🙂👩\u200d🔬\u0000\u200b\u3000 \ud800aB1")
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(text=text, units=st.sampled_from(["none", "words", "characters"]))
def test_offsets_point_into_the_users_own_string(tokenizer: Tokenizer, text: str, units: str) -> None:
    for row in rows_of(Example(text), tokenizer, units=units, layout="windows", max_length=16, stride=4):
        assert row.offsets.min(initial=0) >= 0
        assert row.offsets.max(initial=0) <= len(text)
        assert (row.offsets[:, 0] <= row.offsets[:, 1]).all()
        for unit, token in enumerate(row.unit_tokens.tolist(), row.first_unit):
            assert 0 <= token < len(row.ids)
            start, end = row.offsets[token].tolist()
            a, b = row.units[unit].tolist()
            if units == "characters" and a <= start < min(b, end):
                assert end <= b, "a piece of characters never spans two of them"


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab 我们é🙂", max_size=200), room=st.integers(8, 40), stride=st.integers(0, 20))
def test_every_unit_is_owned_by_exactly_one_window(tokenizer: Tokenizer, text: str, room: int, stride: int) -> None:
    stride = min(stride, room // 2 - 2)
    rows = rows_of(Example(text), tokenizer, units="characters", layout="windows", max_length=room, stride=stride)
    owned = [unit for row in rows for unit in range(row.first_unit, row.last_unit)]
    assert owned == list(range(len(units_of(Example(text), "characters"))))
    assert all(len(row.ids) <= room for row in rows)
    assert [row.number for row in rows] == list(range(len(rows)))


def test_plain_words_are_aligned_to_their_first_piece(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("the cat sat", words=("the", "cat", "sat")), tokenizer, units="words")
    spans = [tuple(row.offsets[token].tolist()) for token in row.unit_tokens]
    assert [start for start, _ in spans] == [0, 4, 8]
    assert row.units.tolist() == [[0, 3], [4, 7], [8, 11]]


@pytest.mark.parametrize("layout", ["joint", "windows"])
def test_words_without_spaces_between_are_aligned_to_their_first_piece(tokenizer: Tokenizer, layout: str) -> None:
    example = Example("the cat's mat, 我们在北京.", words=("the", "cat", "'s", "mat", ",", "我们", "在", "北京", "."))
    for units in ("words", "characters"):
        (row,) = rows_of(example, tokenizer, units=units, layout=layout)
        assert example.words is not None
        starts = [int(row.offsets[token, 0]) for token in row.unit_tokens]
        assert starts == [0, 4, 7, 10, 13, 15, 17, 18, 20]
        assert len(set(row.unit_tokens.tolist())) == 9


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.text(alphabet="ab'我们1.", min_size=1, max_size=4), min_size=1, max_size=12), joined=st.booleans()
)
def test_every_word_stands_at_its_own_first_piece(tokenizer: Tokenizer, words: list[str], joined: bool) -> None:
    """Whatever the tokenizer makes of each word, the row is their pieces one after the other."""
    text = "".join(words) if joined else "  ".join(words)
    (row,) = rows_of(Example(text, words=tuple(words)), tokenizer, units="words", layout="joint", max_length=128)
    alone = [len(next(iter(tokenizer.encode_batch([word]))).ids) for word in words]
    expected = 1 + np.concatenate(([0], np.cumsum(alone)[:-1]))
    assert row.unit_tokens.tolist() == expected.tolist()


def test_dividing_a_text_into_words_changes_no_token(tokenizer: Tokenizer) -> None:
    for given_text in TEXTS:
        (plain,) = rows_of(Example(given_text), tokenizer)
        (divided,) = rows_of(Example(given_text), tokenizer, units="words")
        assert plain.ids.tolist() == divided.ids.tolist()


def test_what_the_tokenizer_normalises_away_shifts_no_offset(tokenizer: Tokenizer) -> None:
    given_text = "\u200b\u0007cat\u0301 我"
    (row,) = rows_of(Example(given_text), tokenizer, units="words")
    cat = next(k for k, (a, b) in enumerate(row.offsets.tolist()) if b > a)
    assert row.offsets[cat, 0] == 2
    han = max(range(len(row.ids)), key=lambda k: row.offsets[k, 1])
    assert given_text[slice(*row.offsets[han].tolist())] == "我"


def test_a_unit_that_the_tokenizer_drops_stands_at_the_piece_before_it(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("cat \u200b sat", words=("cat", "\u200b", "sat")), tokenizer, units="words")
    assert len(row.unit_tokens) == 3
    assert row.unit_tokens[1] >= row.unit_tokens[0]
    assert row.unit_tokens[2] > row.unit_tokens[1]


def test_pairs_have_segments_and_both_offsets(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("the cat", "on the mat"), tokenizer)
    template = tokenizer.template
    assert row.segments.tolist() == [0] * 4 + [1] * 4
    assert row.ids[0] == template.prefix[0]
    assert row.ids[3] == template.middle[0]
    assert row.ids[-1] == template.end[0]
    assert row.offsets[4:7].tolist() == [[0, 2], [3, 6], [7, 10]]


def test_a_long_pair_is_cut_longest_first_and_flagged(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("the cat", "on the mat " * 30), tokenizer, max_length=16)
    assert len(row.ids) == 16
    assert row.truncated
    assert (row.segments == 0).sum() == 4
    (row,) = rows_of(Example("the cat " * 30, "the mat"), tokenizer, max_length=16)
    assert (row.segments == 1).sum() == 3


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("the [SEP] cat [MASK]"), tokenizer)
    assert (row.ids == tokenizer.template.suffix[0]).sum() == 1


def test_a_hundred_thousand_characters(tokenizer: Tokenizer) -> None:
    example = Example("北京的cat在mat上。" * 8000)
    rows = rows_of(example, tokenizer, units="characters", layout="windows", max_length=128, stride=32)
    assert sum(len(row.unit_tokens) for row in rows) == len(units_of(example, "characters"))
    assert not any(row.truncated for row in rows)
    (cut,) = rows_of(example, tokenizer, max_length=128)
    assert cut.truncated


@pytest.mark.parametrize("given_text", ["", " ", "\n\t", "\u200b", "\x00", "\ud800", "🙂" * 3])
def test_odd_strings_make_a_row(tokenizer: Tokenizer, given_text: str) -> None:
    for units in ("none", "words", "characters"):
        (row,) = rows_of(Example(given_text), tokenizer, units=units, layout="windows")
        assert len(row.ids) >= 2


def test_rows_survive_arrow(tokenizer: Tokenizer, tmp_path: Path) -> None:
    examples = [Example(given_text) for given_text in TEXTS] + [Example("北京" * 60, labels={"x": 1}), Example("")]
    options = WindowOptions(max_length=32, stride=8, units="characters", layout="windows")
    expected = [row for rows in tokenise(examples, tokenizer, options) for row in rows]
    stored = prepare(examples, tokenizer, options, cache=tmp_path)
    assert len(stored) == len(expected)
    for number, row in enumerate(expected):
        found = stored.window(number, row.units)
        for name in ("ids", "segments", "offsets", "unit_tokens"):
            assert np.array_equal(getattr(found, name), getattr(row, name)), name
        assert (found.first_unit, found.number, found.truncated) == (row.first_unit, row.number, row.truncated)


def test_processes_give_the_same_rows_in_the_same_order(tokenizer: Tokenizer) -> None:
    examples = [Example(f"{given_text} {k}") for k in range(900) for given_text in TEXTS[:4]]
    options = WindowOptions(max_length=32, stride=8)
    here = prepare(examples, tokenizer, options, cache=None, workers=1)
    there = prepare(examples, tokenizer, options, cache=None, workers=2)
    assert np.array_equal(here.example, there.example)
    assert all(np.array_equal(here.column("ids", k), there.column("ids", k)) for k in here)


def test_a_cache_is_read_again_and_never_for_other_inputs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    options = WindowOptions(max_length=32, stride=8)
    examples = [Example("the cat"), Example("the mat")]
    prepare(examples, tokenizer, options, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    prepare(examples, tokenizer, options, cache=tmp_path)
    assert file.stat().st_mtime_ns == stamp
    other = train_wordpiece(TEXTS, size=60, lowercase=True)
    keys = {
        cache_key(examples, tokenizer, options),
        cache_key([Example("the cat"), Example("the mats")], tokenizer, options),
        cache_key([Example("the cat", "the mat")], tokenizer, options),
        cache_key(examples, other, options),
        cache_key(examples, tokenizer, WindowOptions(max_length=31, stride=8)),
    }
    assert len(keys) == 5


def test_nothing_gives_no_rows(tokenizer: Tokenizer) -> None:
    assert len(prepare([], tokenizer, WindowOptions(max_length=32, stride=8), cache=None)) == 0
    assert len(TokenRows([record_batch(0, [])])) == 0


def test_vocabulary_files(tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n北\n京\nca\n##t\n", encoding="utf-8")
    tokenizer = tokenizer_from_vocab(vocab, lowercase=True)
    (row,) = rows_of(Example("北京cat"), tokenizer)
    assert row.ids.tolist() == [2, 5, 6, 7, 8, 3]


def test_a_trained_vocabulary_is_the_same_every_time() -> None:
    texts = [f"{a}{b} word{k} 北京" for k, (a, b) in enumerate(zip("abcdefgh" * 9, "xyzuvw" * 12, strict=True))]
    assert len({train_wordpiece(texts, size=120, lowercase=True).sha256 for _ in range(4)}) == 1
