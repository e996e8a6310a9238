"""Which tokens are masked: rates, units, and what never is."""

from __future__ import annotations

import numpy as np
import pytest

from braid.data.masking import MaskOptions, Vocabulary, masked, vocabulary_of
from braid.data.vocabularies import train_wordpiece

SIZE = 1000
SPECIAL = np.arange(SIZE) < 5
VOCABULARY = Vocabulary(
    mask=4, special=SPECIAL, continues=(np.arange(SIZE) % 3 == 0) & ~SPECIAL, plain=np.flatnonzero(~SPECIAL)
)


def row(rng: np.random.Generator, length: int) -> np.ndarray:
    return np.concatenate([[2], rng.integers(5, SIZE, size=length - 2), [3]])


@pytest.mark.parametrize("units", ["token", "whole_word", "span"])
def test_shares_over_a_million_tokens(units: str) -> None:
    rng = np.random.default_rng(0)
    options = MaskOptions(units=units)  # type: ignore[arg-type]
    seen = chosen = mask = kept = swapped = 0
    while seen < 1_000_000:
        ids = row(rng, 502)
        out, places = masked(ids, None, VOCABULARY, options, rng)
        assert not VOCABULARY.special[ids[places]].any()
        untouched = np.setdiff1d(np.arange(len(ids)), places)
        assert (out[untouched] == ids[untouched]).all()
        seen += 500
        chosen += len(places)
        mask += int((out[places] == 4).sum())
        kept += int((out[places] == ids[places]).sum())
        swapped += int(((out[places] != 4) & (out[places] != ids[places])).sum())
    assert chosen / seen == pytest.approx(0.15, abs=0.003)
    tolerance = 0.01 if units == "span" else 0.004  # Spans are replaced as one, so there are fewer draws.
    assert mask / chosen == pytest.approx(0.8, abs=tolerance)
    assert swapped / chosen == pytest.approx(0.1, abs=tolerance)
    assert kept / chosen == pytest.approx(0.1, abs=tolerance)


def test_whole_words_are_masked_whole() -> None:
    rng = np.random.default_rng(1)
    options = MaskOptions(units="whole_word", masked=1.0, random=0.0)
    for _ in range(200):
        ids = row(rng, 60)
        out, _ = masked(ids, None, VOCABULARY, options, rng)
        hidden = out == 4
        for place in range(2, len(ids) - 1):
            if VOCABULARY.continues[ids[place]] and not VOCABULARY.special[ids[place - 1]]:
                assert hidden[place] == hidden[place - 1]


def test_words_found_by_a_splitter_are_masked_whole() -> None:
    starts = np.array([True, True, False, False, True, False, True, True])
    ids = np.array([2, 10, 11, 13, 14, 16, 17, 3])
    plain = Vocabulary(mask=4, special=SPECIAL, continues=np.zeros(SIZE, bool), plain=VOCABULARY.plain)
    options = MaskOptions(units="whole_word", rate=0.5, masked=1.0, random=0.0)
    words = [{1, 2, 3}, {4, 5}, {6}]
    for seed in range(50):
        _, places = masked(ids, starts, plain, options, np.random.default_rng(seed))
        assert set(places.tolist()) in (words[0], words[1] | words[2])


def test_spans_have_geometric_lengths() -> None:
    plain = Vocabulary(mask=4, special=SPECIAL, continues=np.zeros(SIZE, bool), plain=VOCABULARY.plain)
    options = MaskOptions(units="span", rate=0.02, masked=1.0, random=0.0)
    lengths = []
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        ids = row(rng, 502)
        _, places = masked(ids, None, plain, options, rng)
        runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
        lengths += [len(run) for run in runs[:1]]
    # The mean of the cut geometric distribution is 3.8 (SpanBERT, section 3.1); runs of a row's last span are cut.
    assert 2.8 < np.mean(lengths) < 4.5
    assert max(lengths) >= 8


def test_a_row_of_special_tokens_has_nothing_to_mask() -> None:
    ids = np.array([2, 3])
    out, places = masked(ids, None, VOCABULARY, MaskOptions(), np.random.default_rng(0))
    assert len(places) == 0
    assert (out == ids).all()


def test_a_short_row_has_one_masked_token() -> None:
    out, places = masked(
        np.array([2, 9, 3]), None, VOCABULARY, MaskOptions(masked=1.0, random=0.0), np.random.default_rng(0)
    )
    assert places.tolist() == [1]
    assert out.tolist() == [2, 4, 3]


def test_what_masking_knows_of_a_wordpiece_vocabulary() -> None:
    tokenizer = train_wordpiece(["playing played plays player 北京"] * 5, size=60, lowercase=True)
    vocabulary = vocabulary_of(tokenizer)
    tokens = {number: token for token, number in tokenizer.rust.get_vocab().items()}
    assert tokens[vocabulary.mask] == "[MASK]"
    assert {tokens[k] for k in np.flatnonzero(vocabulary.special)} == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert all(tokens[k].startswith("##") for k in np.flatnonzero(vocabulary.continues))
    assert not set(np.flatnonzero(vocabulary.special)) & set(vocabulary.plain)
