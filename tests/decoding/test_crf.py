"""A CRF's decoding in NumPy, against trying all sequences and against the gradient of torch's partition."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.tag_schemes import illegal_positions
from braid.decoding.crf import Chain, Legality, legality
from braid.nn.crf import Crf

TAGS = ("O", "B", "I", "E", "S")
"""Untyped BIOES: the scheme with the most rules, small enough to try every sequence of."""


def make(seed):
    random = np.random.default_rng(seed)
    start, end, pairs = (random.normal(size=shape).astype(np.float32) for shape in ((5,), (5,), (5, 5)))
    return Chain(start, end, pairs, legality(TAGS, "bioes"))


def path_score(chain, emissions, path):
    score = float(chain.start_C[path[0]]) + float(chain.end_C[path[-1]])
    score += sum(float(emissions[at, tag]) for at, tag in enumerate(path))
    return score + sum(float(chain.pairs_CC[a, b]) for a, b in pairwise(path))


def is_legal(path):
    return not illegal_positions([TAGS[k] for k in path], "bioes")


def paths(n):
    return list(product(range(len(TAGS)), repeat=n))


def sequences(seed, lengths, scale=2.0):
    random = np.random.default_rng([seed, 1])
    return [(scale * random.normal(size=(n, len(TAGS)))).astype(np.float32) for n in lengths]


LENGTHS = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), LENGTHS)
def test_decoding_finds_the_best_legal_sequence(seed, lengths):
    chain, emissions = make(seed), sequences(seed, lengths)
    decoded = chain.decode(emissions)
    for path, e in zip(decoded, emissions, strict=True):
        assert len(path) == len(e)
        if len(e):
            legal_paths = [p for p in paths(len(e)) if is_legal(p)]
            assert tuple(path.tolist()) == max(legal_paths, key=lambda p: path_score(chain, e, p))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), LENGTHS)
def test_a_tag_is_as_likely_as_all_legal_sequences_that_hold_it(seed, lengths):
    chain, emissions = make(seed), sequences(seed, lengths)
    decoded = chain.decode(emissions)
    for found, path, e in zip(chain.chances(emissions, decoded), decoded, emissions, strict=True):
        assert len(found) == len(e)
        if len(e):
            powers = {p: np.exp(path_score(chain, e, p)) for p in paths(len(e)) if is_legal(p)}
            for at, tag in enumerate(path):
                with_tag = sum(power for p, power in powers.items() if p[at] == tag)
                assert found[at] == pytest.approx(with_tag / sum(powers.values()), abs=1e-6)


def test_where_no_legal_sequence_exists_all_sequences_count():
    rules = Legality(np.array([True, False]), np.array([False, True]), np.array([[False, True], [True, False]]))
    chain = Chain(np.float32([0.1, -0.2]), np.float32([0.3, 0.0]), np.zeros((2, 2), np.float32), rules)
    emissions = [np.array([[1.0, 3.0]], np.float32)]  # one unit cannot be first and last
    ((chance,),) = chain.chances(emissions, decoded := chain.decode(emissions))
    powers = np.exp(emissions[0][0] + chain.start_C + chain.end_C)
    assert chance == pytest.approx(float(powers[decoded[0][0]] / powers.sum()), abs=1e-6)


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_chances_are_chances_however_large_the_logits(scale):
    chain, emissions = make(5), sequences(5, [70, 0, 3], scale)
    for chance in chain.chances(emissions, chain.decode(emissions)):
        assert ((chance >= 0) & (chance <= 1 + 1e-9)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.sampled_from([1.0, 1e3, 1e5]))
def test_decoded_sequences_are_legal_however_large_the_logits(seed, lengths, scale):
    for path in make(seed).decode(sequences(seed, lengths, scale)):
        assert is_legal(path.tolist())


def test_many_sequences_decode_as_each_alone():
    chain, emissions = make(9), sequences(9, [k % 17 for k in range(150)])
    together = chain.decode(emissions)
    assert all((chain.decode([e])[0] == path).all() for e, path in zip(emissions, together, strict=True))


def test_nothing_decodes_to_nothing():
    assert make(7).decode([np.zeros((0, 5), np.float32)])[0].tolist() == []
    assert make(7).decode([]) == []
    assert make(7).chances([], []) == []


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_chances_are_the_gradient_of_the_log_partition(scale):
    """Eisner 2016, Inside-Outside and Forward-Backward Algorithms Are Just Backprop: with our loss's own partition."""
    chain, emissions = make(3), sequences(3, [7, 1, 12, 12], scale)
    rules = chain.legal
    crf = Crf(5, *map(torch.from_numpy, (rules.start_C, rules.end_C, rules.pairs_CC)))
    with torch.no_grad():
        for parameter, score in zip(crf.parameters(), (chain.start_C, chain.end_C, chain.pairs_CC), strict=True):
            parameter.copy_(torch.from_numpy(score))
    given = [torch.tensor(e, dtype=torch.float64, requires_grad=True) for e in emissions]
    decoded = chain.decode(emissions)
    for found, path, e in zip(chain.chances(emissions, decoded), decoded, given, strict=True):
        everything = crf._log_partition(e[None], torch.ones(1, len(e), dtype=torch.bool), torch.ones(1, dtype=bool))
        (gradient,) = torch.autograd.grad(everything.sum(), [e])
        np.testing.assert_allclose(found, gradient[torch.arange(len(e)), torch.from_numpy(path)], atol=1e-9)
