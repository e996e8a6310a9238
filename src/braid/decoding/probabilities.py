"""Logits -> probabilities, for decoding in NumPy."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, of any shape, in float64 whatever the logits are."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The logistic function of each value, in float64 whatever the logits are, without overflow."""
    half = np.asarray(np.tanh(0.5 * logits.astype(np.float64)))
    return 0.5 * (1.0 + half)
