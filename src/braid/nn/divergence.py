"""How far two answers to the same question are from each other.

For probabilities it is Jeffreys' divergence (1946), KL(p || q) + KL(q || p), which is the sum over classes of (p - q)
(log p - log q); for numbers the squared difference, which it is for two normal distributions of variance 1. All in
fp32, with gradients for both sides, and 0 where both are the same.

Shape legend: N answers, C classes, V values of all segments laid flat, S segments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braid.nn.segments import segment_logsumexp


def class_divergence(first_NC: Tensor, second_NC: Tensor) -> Tensor:
    """[N]: of the softmax of logits over C classes."""
    first_NC, second_NC = first_NC.float().log_softmax(dim=1), second_NC.float().log_softmax(dim=1)
    return ((first_NC.exp() - second_NC.exp()) * (first_NC - second_NC)).sum(dim=1)


def binary_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Of the sigmoid of each logit, of any shape."""
    first, second = first.float(), second.float()
    return (first.sigmoid() - second.sigmoid()) * (first - second)


def segment_divergence(first_V: Tensor, second_V: Tensor, segments_V: Tensor, n: int) -> Tensor:
    """[S]: of the softmax over the values of each of *n* segments; *segments*: the segment of each value."""
    first_V, second_V = first_V.float(), second_V.float()
    first_V = first_V - segment_logsumexp(first_V, segments_V, n)[segments_V]
    second_V = second_V - segment_logsumexp(second_V, segments_V, n)[segments_V]
    apart_V = (first_V.exp() - second_V.exp()) * (first_V - second_V)
    return apart_V.new_zeros(n).index_add(0, segments_V, apart_V)


def number_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Of numbers, of any shape: the squared difference."""
    return torch.square(first.float() - second.float())
