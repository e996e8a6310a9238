from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.tag_schemes import illegal_positions, legal, legal_end, legal_start
from braid.nn.crf import Crf

TAGS = ["O", "B", "I", "E", "S"]
"""Untyped BIOES: the scheme with the most rules, small enough to try every sequence of."""


def make(seed, constrained=True):
    torch.manual_seed(seed)
    every = torch.ones(len(TAGS), dtype=torch.bool)
    crf = Crf(
        len(TAGS),
        torch.tensor([legal_start(tag, "bioes") for tag in TAGS]) if constrained else every,
        torch.tensor([legal_end(tag, "bioes") for tag in TAGS]) if constrained else every,
        torch.tensor([[legal(a, b, "bioes") for b in TAGS] for a in TAGS])
        if constrained
        else every.expand(len(TAGS), -1),
    )
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


@torch.no_grad()
def path_score(crf, emissions, path):
    score = crf.start[path[0]] + crf.end[path[-1]]
    score = score + sum(emissions[at, tag] for at, tag in enumerate(path))
    return float(score + sum(crf.transitions[a, b] for a, b in pairwise(path)))


def is_legal(path):
    return not illegal_positions([TAGS[k] for k in path], "bioes")


def paths(n):
    return list(product(range(len(TAGS)), repeat=n))


def brute_force_loss(crf, emissions, gold, allowed):
    scores = torch.tensor([path_score(crf, emissions, path) for path in paths(len(gold)) if allowed(path)])
    return float(torch.logsumexp(scores.double(), 0)) - path_score(crf, emissions, gold)


def sequences(seed, lengths, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, len(TAGS), generator=generator) for n in lengths]


def offsets(lengths):
    return torch.tensor([0, *np.cumsum(lengths)])


LENGTHS = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), LENGTHS)
def test_loss_is_that_of_enumerating_all_legal_sequences(seed, lengths):
    crf, emissions = make(seed), sequences(seed, lengths)
    random = np.random.default_rng(seed)
    gold = []
    for n in lengths:
        legal_paths = [path for path in paths(n) if is_legal(path)]
        gold.append(legal_paths[random.integers(len(legal_paths))] if n else ())
    expected = sum(brute_force_loss(crf, e, g, is_legal) for e, g in zip(emissions, gold, strict=True) if len(g))
    tags = torch.tensor([tag for path in gold for tag in path], dtype=torch.int64)
    loss = crf.negative_log_likelihood(torch.cat(emissions), tags, offsets(lengths))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4)


def test_without_constraints_the_loss_counts_every_sequence():
    crf, (emissions,) = make(3, constrained=False), sequences(3, [3])
    loss = crf.negative_log_likelihood(emissions, torch.tensor([2, 0, 1]), offsets([3]))
    assert float(loss.detach()) == pytest.approx(
        brute_force_loss(crf, emissions, (2, 0, 1), lambda path: True), abs=1e-4
    )


def test_an_illegal_gold_sequence_is_scored_without_constraints():
    crf, emissions = make(4), sequences(4, [3, 2])
    illegal, fine = (2, 0, 1), (1, 3)
    expected = brute_force_loss(crf, emissions[0], illegal, lambda path: True)
    expected += brute_force_loss(crf, emissions[1], fine, is_legal)
    loss = crf.negative_log_likelihood(torch.cat(emissions), torch.tensor([*illegal, *fine]), offsets([3, 2]))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4)
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in crf.parameters())


def test_forbidden_transitions_get_no_gradient_from_legal_sequences():
    crf, emissions = make(5), sequences(5, [4])[0].requires_grad_()
    crf.negative_log_likelihood(emissions, torch.tensor([0, 1, 2, 3]), offsets([4])).backward()
    assert torch.isfinite(emissions.grad).all()
    assert (crf.transitions.grad[~crf.legal] == 0).all()
    assert (crf.transitions.grad[crf.legal] != 0).any()


def test_the_gradient_is_that_of_finite_differences():
    crf = make(6)
    emissions = sequences(6, [2, 3])
    cu, tags = offsets([2, 3]), torch.tensor([1, 3, 0, 4, 0])
    flat = torch.cat(emissions).requires_grad_()
    crf.negative_log_likelihood(flat, tags, cu).backward()
    step = torch.zeros_like(flat)
    step[3, 4] = 1e-2
    with torch.no_grad():
        above, below = (crf.negative_log_likelihood(flat + s, tags, cu) for s in (step, -step))
    assert float(flat.grad[3, 4]) == pytest.approx(float(above - below) / 2e-2, abs=1e-3)


def test_nothing_but_empty_sequences_gives_a_loss_of_zero_with_gradients():
    crf = make(7)
    loss = crf.negative_log_likelihood(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), offsets([0, 0]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert crf.start.grad is not None


def test_half_precision_emissions_are_scored_in_single_precision():
    crf, (emissions,) = make(8), sequences(8, [4])
    tags, cu = torch.tensor([0, 1, 2, 3]), offsets([4])
    half = crf.negative_log_likelihood(emissions.bfloat16(), tags, cu)
    assert half.dtype == torch.float32
    assert torch.equal(half, crf.negative_log_likelihood(emissions.bfloat16().float(), tags, cu))


def test_far_apart_logits_leave_loss_and_gradients_finite():
    crf, (emissions,) = make(10), sequences(10, [6], scale=150.0)
    emissions.requires_grad_()
    path = min((path for path in paths(6) if is_legal(path)), key=lambda path: path_score(crf, emissions, path))
    loss = crf.negative_log_likelihood(emissions, torch.tensor(path), offsets([6]))
    loss.backward()
    expected = brute_force_loss(crf, emissions.detach(), path, is_legal)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(emissions.grad).all()


def test_masks_are_no_part_of_what_is_saved():
    assert list(make(1).state_dict()) == ["start", "end", "transitions"]
