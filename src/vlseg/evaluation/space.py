"""How far a vector lies from those of a set: a Gaussian with few directions of its own, the others alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

DIRECTIONS = 32
"""At most; and at most a quarter of the vectors."""
SHRINK = 0.1
"""Share of the mean variance in that of every direction."""


@dataclass(frozen=True)
class Space:
    """Mean, spread and directions of a set of vectors; no vector of the set itself is kept.

    Attributes:
        mean: (D,).
        scale: (D,) standard deviation of each number, none below the floor it was fitted with.
        directions: (K, D), orthonormal, on numbers that are centred and scaled.
        variances: (K,) along the directions.
        rest: the variance along each of the others.
    """

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float

    @classmethod
    def fit(cls, vectors: np.ndarray, floor: float) -> Self:
        """Of vectors (N, D), N at least 2; `floor` is the smallest standard deviation that a number is taken to have.

        Probabilistic PCA (Tipping and Bishop 1999) on standardised numbers, each variance drawn towards their mean.
        """
        mean = vectors.mean(axis=0)
        scale = np.maximum(vectors.std(axis=0, ddof=1), floor)
        centred = (vectors - mean) / scale
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        spread = singular**2 / (len(vectors) - 1)
        kept = max(1, min(DIRECTIONS, len(vectors) // 4, len(spread)))
        left = vectors.shape[1] - kept
        rest = spread[kept:].sum() / left if left else 0.0
        average = spread.sum() / vectors.shape[1]
        shrunk = (1 - SHRINK) * spread[:kept] + SHRINK * average
        return cls(mean, scale, directions[:kept], shrunk, float((1 - SHRINK) * rest + SHRINK * average))

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """(N,) root mean square of the (N, D) vectors' numbers, in standard deviations of the direction that each
        lies along: about 1 for vectors like those that were fitted.
        """
        centred = (vectors - self.mean) / self.scale
        along = centred @ self.directions.T
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        inside = (along**2 / np.maximum(self.variances, 1e-12)).sum(axis=1)
        return np.asarray(np.sqrt((inside + beside / max(self.rest, 1e-12)) / vectors.shape[1]))

    def deviations(self, vector: np.ndarray) -> np.ndarray:
        """(D,) of one vector's numbers, each in its own standard deviations."""
        return np.asarray((vector - self.mean) / self.scale)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """By name, single precision."""
        fields = {
            "mean": self.mean,
            "scale": self.scale,
            "directions": self.directions,
            "variances": self.variances,
            "rest": np.array([self.rest]),
        }
        return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in fields.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Self:
        """What `to_tensors` gave."""
        wide = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        return cls(wide["mean"], wide["scale"], wide["directions"], wide["variances"], float(wide["rest"][0]))
