"""Whitening of features: zero mean, unit variance in every direction (Su et al. 2021, arXiv 2103.15316).

Shape legend: n texts, D size of the features, K size that is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from braid.errors import BraidError

FLAT = 1e-12
"""Variance, as a share of the largest, below which features do not vary in a direction."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> (x - *mean* [D]) @ *kernel* [D, K]. *of*: which features it was fitted on, of how many *texts*."""

    mean: np.ndarray
    kernel: np.ndarray
    of: dict[str, str] = field(default_factory=dict)
    texts: int = 0

    @property
    def size(self) -> int:
        """K."""
        return int(self.kernel.shape[1])

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """[n, D] -> [n, K] float32."""
        out: np.ndarray = ((vectors.astype(np.float64) - self.mean) @ self.kernel).astype(np.float32)
        return out

    def save(self, path: Path) -> None:
        """Write safetensors, whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            save_file(
                {"mean": self.mean, "kernel": self.kernel},
                str(temporary),
                metadata={**self.of, "texts": str(self.texts)},
            )
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, *, of: dict[str, str] | None = None) -> Whitening:
        """What `save` wrote. *of*: the features that it is to be used on.

        Raises BraidError for other files, and for features of another encoder, layer or pooling."""
        try:
            with safe_open(str(path), framework="numpy") as file:
                known = dict(file.metadata() or {})
                mean, kernel = file.get_tensor("mean"), file.get_tensor("kernel")
        except FileNotFoundError:
            raise BraidError(f"there is no whitening {path.resolve()}") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise BraidError(f"{path} holds no whitening: {error}") from error
        if mean.ndim != 1 or kernel.ndim != 2 or kernel.shape[0] != mean.shape[0]:
            raise BraidError(f"{path} holds no whitening: mean {list(mean.shape)}, kernel {list(kernel.shape)}")
        texts = int(known.pop("texts", "0"))
        if of is not None:
            wrong = [
                f"{key} {known.get(key, 'not said')[:40]!r}, here {of[key][:40]!r}"
                for key in of
                if known.get(key) != of[key]
            ]
            if wrong:
                raise BraidError(f"{path} was fitted on other features: {'; '.join(wrong)}")
        return cls(mean, kernel, known, texts)


class Moments:
    """Mean and covariance of features [n, D] that come some at a time, in fp64. *keep*: K; None: D.

    Raises BraidError where K is more than D."""

    def __init__(self, size: int, keep: int | None) -> None:
        if keep is not None and not 1 <= keep <= size:
            raise BraidError(f"whitening to {keep} dimensions: the features have {size}")
        self.count, self.keep = 0, keep
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))

    def add(self, vectors: np.ndarray) -> None:
        """[n, D] more (Chan, Golub & LeVeque 1983: sums around the mean lose no digits)."""
        if not len(vectors):
            return
        new = vectors.astype(np.float64)
        mean = new.mean(0)
        total, shift = self.count + len(new), mean - self.mean
        self.scatter += (new - mean).T @ (new - mean) + np.outer(shift, shift) * (self.count * len(new) / total)
        self.mean += shift * (len(new) / total)
        self.count = total

    def whitening(self, *, of: dict[str, str]) -> Whitening:
        """The directions in which the features vary most, each scaled to variance 1.

        Raises BraidError where the features do not vary in so many directions."""
        if self.count < 2:
            raise BraidError(f"whitening needs many texts to be fitted on, here {self.count}")
        directions, variances, _ = np.linalg.svd(self.scatter / self.count)
        found = int((variances > max(variances[0], 1e-300) * FLAT).sum())
        rank = min(found, self.count - 1)
        kept = self.keep or len(self.mean)
        if kept > rank:
            raise BraidError(
                f"whitening to {kept} dimensions: the {self.count:,} texts vary in {rank} only; fit it on more texts, "
                f"or ask for {rank} at most"
            )
        kernel = directions[:, :kept] / np.sqrt(variances[:kept])
        return Whitening(self.mean, kernel, of, self.count)
