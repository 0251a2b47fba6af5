"""Intervals of values in a range, many trials at once: studentised, Gaffke's, and what vlseg makes of both.

Groups are drawn alike: of one value each, or of unequal sizes, 2.5 values in the mean. `interval_coverage.py` reports.
"""

from collections.abc import Callable, Mapping

import numpy as np

from vlseg.metrics.bootstrap import BOOTSTRAP_SEED, MIN_APART, REPLICATES, Clusters, interval

Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]
Bounds = tuple[float, float]
GROUPS = (12, 20, 41, 100, 300)
FEWEST = 200
"""Rows with fewer trials in which there is an interval say too little."""


def _apart(share: float, low: float, high: float) -> Draw:
    """Values of a group are alike: 0, or in a share of the groups something between low and high."""

    def draw(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
        apart = rng.random(len(sizes)) < share
        return np.repeat(np.where(apart, rng.uniform(low, high, len(sizes)), 0.0), sizes)

    return draw


def _misses(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    n = int(sizes.sum())
    return np.where(rng.random(n) < 0.05, 0.0, rng.beta(18, 2, n))


def _lost(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    kept = rng.random(len(sizes)) < 0.1
    change = np.where(kept, rng.uniform(-0.5, 0, len(sizes)), rng.uniform(-0.95, -0.85, len(sizes)))
    return np.repeat(change, sizes)


def _larger(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    """Changes, the likelier the larger the group."""
    apart = rng.random(len(sizes)) < np.minimum(1, 0.04 * sizes)
    return np.repeat(np.where(apart, rng.uniform(-1, 0, len(sizes)), 0.0), sizes)


SCENARIOS: dict[str, tuple[Draw, Bounds]] = {
    "Dice, 5 % misses": (_misses, (0, 1)),
    "Dice, 95 % of groups 0": (_apart(0.05, 0.3, 1), (0, 1)),
    "Dice, 80 % of groups 0": (_apart(0.2, 0.3, 1), (0, 1)),
    "change, 90 % of groups 0": (_apart(0.1, -1, 0), (-1, 1)),
    "change, 95 % of groups 0": (_apart(0.05, -1, 0), (-1, 1)),
    "change, 98 % of groups 0": (_apart(0.02, -1, 0), (-1, 1)),
    "change either way, 90 % of groups 0": (_apart(0.1, -1, 1), (-1, 1)),
    "change, large groups rather": (_larger, (-1, 1)),
    "nearly all is lost": (_lost, (-1, 1)),
}


def bounded_coverage(trials: int, scenarios: Mapping[str, tuple[Draw, Bounds]]) -> list[dict[str, object]]:
    """Coverage, shares of intervals below and above the truth, and mean reach, where there is an interval."""
    rows: list[dict[str, object]] = []
    for name, (draw, bounds) in scenarios.items():
        for unequal in (False, True):
            sums, counts = _groups(np.random.default_rng(99), draw, 4_000_000, unequal=unequal)
            truth = float(sums.sum() / counts.sum())
            for number in GROUPS:
                rng = np.random.default_rng([number, unequal])
                drawn = _groups(rng, draw, trials * number, unequal=unequal)
                sums, counts = (part.reshape(trials, number) for part in drawn)
                kept = np.array([_reported(*trial) for trial in zip(sums, counts, strict=True)])
                if kept.sum() < FEWEST:
                    continue
                ends = _ends(sums[kept], counts[kept], bounds)
                mean = sums[kept].sum(axis=1) / counts[kept].sum(axis=1)
                row = {"scenario": name, "groups": number, "unequal": unequal, "reported": round(float(kept.mean()), 3)}
                rows.append(row | {kind: _summary(*pair, mean, truth) for kind, pair in ends.items()})
    return rows


def _groups(rng: np.random.Generator, draw: Draw, number: int, *, unequal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts (number,)."""
    sizes = np.maximum(1, np.round(rng.lognormal(0.6, 0.8, number))).astype(int) if unequal else np.ones(number, int)
    values = draw(rng, sizes)
    return np.add.reduceat(values, np.concatenate([[0], np.cumsum(sizes)[:-1]])), sizes.astype(float)


def _reported(sums: np.ndarray, counts: np.ndarray) -> bool:
    steps = np.diff(np.sort(sums / counts)) > 1e-12
    return bool(len(sums) - np.bincount(np.concatenate([[0], np.cumsum(steps)])).max() >= MIN_APART)


def _ends(sums: np.ndarray, counts: np.ndarray, bounds: Bounds) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(T,) low and high ends of (T, G) sums and counts, 500 trials at a time; the same draws as the package's."""
    groups = sums.shape[1]
    chosen = np.random.default_rng(BOOTSTRAP_SEED).integers(groups, size=(REPLICATES, groups))
    resamples = np.stack([np.bincount(row, minlength=groups) for row in chosen]).astype(float)
    shares = np.random.default_rng(BOOTSTRAP_SEED).standard_exponential((REPLICATES, groups + 1))
    order = np.lexsort((sums, counts), axis=1)
    sums, counts = np.take_along_axis(sums, order, 1), np.take_along_axis(counts, order, 1)
    parts = []
    for start in range(0, len(sums), 500):
        some = sums[start : start + 500], counts[start : start + 500]
        t, gaffke = _studentised(*some, resamples), _gaffke(*some, shares, bounds)
        parts.append([t, gaffke, _both(*some, t, gaffke)])
    joined = [[np.concatenate(end) for end in zip(*kind, strict=True)] for kind in zip(*parts, strict=True)]
    kinds = [(np.maximum(low, bounds[0]), np.minimum(high, bounds[1])) for low, high in joined]
    for trial in range(2):  # the package gives the same intervals
        ours = interval(Clusters(sums[trial], counts[trial]), "t", bounds)
        np.testing.assert_allclose(ours, [end[trial] for end in kinds[2]], atol=1e-9)
    return dict(zip(("t", "gaffke", "both"), kinds, strict=True))


def _studentised(sums: np.ndarray, counts: np.ndarray, resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups, mean = sums.shape[1], sums.sum(axis=1) / counts.sum(axis=1)
    count = resamples @ counts.T
    means = resamples @ sums.T / count
    squares = (
        resamples @ (sums**2).T - 2 * means * (resamples @ (sums * counts).T) + means**2 * (resamples @ (counts**2).T)
    )
    errors = np.sqrt(np.maximum(squares, 0.0) * groups / (groups - 1)) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(errors > 1e-7, (means - mean) / errors, np.nan)
    lower, upper = np.nanpercentile(ratios, [2.5, 97.5], axis=0)
    error = np.sqrt(((sums - mean[:, None] * counts) ** 2).sum(axis=1) * groups / (groups - 1)) / counts.sum(axis=1)
    return mean - upper * error, mean - lower * error


def _gaffke(sums: np.ndarray, counts: np.ndarray, shares: np.ndarray, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    added = shares[:, -1:] * ((counts**2).sum(axis=1) / counts.sum(axis=1))
    total, count = shares[:, :-1] @ sums.T, shares[:, :-1] @ counts.T + added
    low = np.percentile((total + added * bounds[0]) / count, 2.5, axis=0)
    return low, np.percentile((total + added * bounds[1]) / count, 97.5, axis=0)


def _both(
    sums: np.ndarray, counts: np.ndarray, t: tuple[np.ndarray, np.ndarray], gaffke: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut where less than a third of the groups have the outermost mean."""
    means = sums / counts
    lowest, highest = (
        (np.abs(means - end) < 1e-12).sum(axis=1)
        for end in (means.min(axis=1, keepdims=True), means.max(axis=1, keepdims=True))
    )
    low = np.where(3 * lowest < means.shape[1], np.maximum(t[0], gaffke[0]), t[0])
    return low, np.where(3 * highest < means.shape[1], np.minimum(t[1], gaffke[1]), t[1])


def _summary(low: np.ndarray, high: np.ndarray, mean: np.ndarray, truth: float) -> dict[str, float]:
    return {
        "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 3),
        "too_low": round(float((high < truth).mean()), 3),
        "too_high": round(float((low > truth).mean()), 3),
        "below": round(float((mean - low).mean()), 4),
        "above": round(float((high - mean).mean()), 4),
    }
