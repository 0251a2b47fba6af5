"""A mean with its interval, resampling whole groups."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPLICATES, BOOTSTRAP_SEED, MIN_GROUPS = 2000, 20240703, 10
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean over n samples, their standard deviation (n - 1), and a 95 % interval or the reason for none."""

    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n: int
    reason: str | None = None


def bootstrap_mean(values: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """The mean of all values with a 95 % percentile interval, resampling whole groups.

    Seeded: the same values in the same order give the same interval. There is none below ten groups (too
    few to resample), nor where all values are equal: a resample could only repeat that value, so an interval
    of no width would claim a certainty that the data do not give.

    Args:
        values: (n,) finite numbers.
        groups: (n,) what belongs together, e.g. patients.
    """
    if not values:
        return Estimate(None, None, None, 0, "no value is defined")
    data = np.asarray(values, dtype=np.float64)
    mean, std = float(data.mean()), float(data.std(ddof=1)) if len(data) > 1 else None
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    if len(numbers) < MIN_GROUPS:
        return Estimate(mean, std, None, len(data), f"{len(numbers)} groups, fewer than {MIN_GROUPS}")
    if np.ptp(data) == 0:
        return Estimate(mean, std, None, len(data), "all values are equal")
    index = np.asarray([numbers[name] for name in groups])
    means = _resampled_means(np.bincount(index, weights=data).astype(np.float64), np.bincount(index).astype(np.float64))
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean, std, (float(low), float(high)), len(data))


def _resampled_means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(REPLICATES,) means of as many groups drawn with replacement, from each group's sum and count."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = max(1, _DRAWS_AT_ONCE // len(sums))
    parts = []
    for start in range(0, REPLICATES, rows):
        drawn = rng.integers(len(sums), size=(min(rows, REPLICATES - start), len(sums)))
        parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)
