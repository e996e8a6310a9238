"""Biaffine scores: those of the formula, whatever rows stand together."""

import pytest
import torch

from braid.nn.biaffine import BiaffineArcs, buckets


def module(relations=3, dropout=0.0):
    torch.manual_seed(0)
    scorer = BiaffineArcs(8, relations, arc_size=6, relation_size=5, dropout=dropout)
    torch.nn.init.normal_(scorer.arc.bias)
    torch.nn.init.normal_(scorer.relation.bias)
    return scorer


def by_formula(scorer, words):
    """Pair by pair, as the paper's equations 6 and 3 have it."""
    heads = [scorer.root, *words]
    out = []
    for dependent in words:
        for head in heads:
            d, h = scorer.arc_dependent(dependent), scorer.arc_head(head)
            arc = d @ scorer.arc.weight.T @ h + scorer.arc.bias @ h
            d, h = scorer.relation_dependent(dependent), scorer.relation_head(head)
            one_more = torch.cat([h, torch.ones(1)])
            weight, bias = scorer.relation.weight.view(-1, 6, 5), scorer.relation.bias.view(-1, 6)
            relations = [(w @ d + b) @ one_more for w, b in zip(weight, bias, strict=True)]
            out.append(torch.stack([arc, *relations]))
    return torch.stack(out)


@pytest.mark.parametrize("sizes", [[3], [1, 4, 2], [5, 0, 5, 1], [2, 9, 3, 9, 1, 0]])
def test_scores_are_those_of_the_formula_in_the_order_of_the_rows(sizes):
    scorer = module()
    words = torch.randn(sum(sizes), 8)
    scores = scorer(words, sizes)
    assert scores.shape == (sum(n * (n + 1) for n in sizes), 4)
    expected = torch.cat([by_formula(scorer, row) for row in words.split(sizes) if len(row)])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_without_words_there_are_no_scores_but_there_is_a_graph():
    scorer = module()
    for sizes in ([], [0, 0]):
        scores = scorer(torch.zeros(0, 8, requires_grad=True), sizes)
        assert scores.shape == (0, 4)
        scores.sum().backward()


def test_padding_gets_no_gradient():
    scorer = module()
    words = torch.randn(7, 8, requires_grad=True)
    weights = torch.randn(5 * 6 + 2 * 3, 4)
    (scorer(words, [5, 2]) * weights).sum().backward()
    together = words.grad.clone()
    words.grad = None
    for part, weight in zip(words.split([5, 2]), weights.split([30, 6]), strict=True):
        (scorer(part, [len(part)]) * weight).sum().backward()
    torch.testing.assert_close(together, words.grad, atol=1e-5, rtol=1e-5)


def test_buckets_hold_every_row_once_and_little_padding():
    sizes = torch.randint(0, 60, (200,), generator=torch.Generator().manual_seed(1)).tolist()
    found = list(buckets(sizes, waste=0.3))
    assert sorted(row for bucket in found for row in bucket.rows) == [row for row, size in enumerate(sizes) if size]
    for bucket in found:
        real = sum(len(places) for places in bucket.places)
        assert real == sum(sizes[row] * (sizes[row] + 1) for row in bucket.rows)
        assert bucket.dependents_bL.size * bucket.heads_bH.shape[1] <= 1.3 * real
    assert len(found) < 25


def test_dropout_falls_in_training_only():
    scorer = module(dropout=0.5)
    words = torch.randn(4, 8)
    assert not torch.equal(scorer(words, [4]), scorer(words, [4]))
    scorer.eval()
    assert torch.equal(scorer(words, [4]), scorer(words, [4]))
