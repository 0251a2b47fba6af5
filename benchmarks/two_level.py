"""Many trials of the two-level interval at once; `interval_coverage.py` checks some against the package and reports.

Dice of seed s on an image: 5 % of images are missed by most seeds (0), 13 % answered exactly by most (1), the rest is a
logistic curve of the patient's, the image's and the seed's difficulty and of what seed and image make together.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from vlseg.metrics.bootstrap import BOOTSTRAP_SEED, REPLICATES, two_level_mean

SPREADS = {
    "usual": (0.15, 0.7),
    "no seed differs": (0.0, 0.7),
    "no patient differs": (0.15, 0.0),
    "seeds differ widely": (0.5, 0.7),
}
"""Standard deviations of the seed's and the patient's difficulty on the logit scale."""
GROUPS, SEEDS = (10, 30, 100), (5, 10, 20)


@dataclass(frozen=True)
class Intervals:
    """(T,) ends of 95 % intervals: of `two_level_mean`, of plain resampling, and of patients alone."""

    ours: tuple[np.ndarray, np.ndarray]
    percentile: tuple[np.ndarray, np.ndarray]
    patients: tuple[np.ndarray, np.ndarray]


def draw(
    rng: np.random.Generator, trials: int, seeds: int, sizes: np.ndarray, spread: tuple[float, float]
) -> np.ndarray:
    """(trials, seeds, images) scores; images of a patient lie together."""
    images = int(sizes.sum())
    patient = np.repeat(rng.normal(0, spread[1], (trials, 1, len(sizes))), sizes, axis=2)
    image, seed = rng.normal(0, 0.5, (trials, 1, images)), rng.normal(0, spread[0], (trials, seeds, 1))
    usual = 1 / (1 + np.exp(-(2.0 + patient + image + seed + rng.normal(0, 0.4, (trials, seeds, images)))))
    kind, own = rng.random((trials, 1, images)), rng.random((trials, seeds, images))
    missed, exact = (kind < 0.06) & (own < 0.8), (kind >= 0.06) & (kind < 0.2) & (own < 0.9)
    return np.where(missed, 0.0, np.where(exact, 1.0, usual))


def patients(groups: int) -> np.ndarray:
    """Images of each patient, 1 to 10, most of them 2 or 3."""
    return np.maximum(1, np.round(np.random.default_rng(groups).lognormal(0.9, 0.6, groups))).astype(int)


def true_mean(spread: tuple[float, float]) -> float:
    """Over seeds and patients that never come again."""
    rng = np.random.default_rng(5)
    return float(np.mean([draw(rng, 200_000, 1, np.array([1]), spread).mean() for _ in range(10)]))


def intervals(values: np.ndarray, sizes: np.ndarray) -> Intervals:
    """Of every trial; the same draws as the package's."""
    seeds, groups, total = values.shape[1], len(sizes), sizes.sum()
    sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(sizes)[:-1]]), axis=2)
    chosen = np.random.default_rng(BOOTSTRAP_SEED).integers(groups, size=(REPLICATES, groups))
    weights = np.stack([np.bincount(row, minlength=groups) for row in chosen]).astype(float)
    low, high = _patients(sums.mean(axis=1), sizes, weights)
    means = sums.sum(axis=2) / total
    mean = means.mean(axis=1)
    residuals = sums - means[..., None] * sizes
    mixed = ((residuals - residuals.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    mixed *= groups / (groups - 1) / ((seeds - 1) * total**2)
    own = np.maximum(0.0, means.var(axis=1, ddof=1) - mixed)
    reach = stats.t.ppf(0.975, seeds - 1) * np.sqrt(own / seeds)
    ours = (mean - np.hypot(mean - low, reach), mean + np.hypot(high - mean, reach))
    return Intervals(ours, _plain(sums, sizes, weights), (low, high))


def _patients(sums: np.ndarray, sizes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The studentised bootstrap of (T, G) sums."""
    groups, mean = len(sizes), sums.sum(axis=1) / sizes.sum()
    count = (weights @ sizes)[:, None]
    means = weights @ sums.T / count
    squares = weights @ (sums**2).T - 2 * means * (weights @ (sums * sizes).T)
    squares += means**2 * (weights @ (sizes**2.0))[:, None]
    errors = np.sqrt(np.maximum(squares, 0.0) * groups / (groups - 1)) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(errors > 1e-9, (means - mean) / errors, np.nan)
    lower, upper = np.nanpercentile(ratios, [2.5, 97.5], axis=0)
    error = np.sqrt(((sums - mean[:, None] * sizes) ** 2).sum(axis=1) * groups / (groups - 1)) / sizes.sum()
    return mean - upper * error, mean - lower * error


def _plain(sums: np.ndarray, sizes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of resampled seeds and groups, what the package had before."""
    trials, seeds, _ = sums.shape
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(weights)) / seeds
    count = weights @ sizes
    low, high = np.empty(trials), np.empty(trials)
    for trial in range(trials):
        low[trial], high[trial] = np.percentile((weights * (drawn @ sums[trial])).sum(axis=1) / count, [2.5, 97.5])
    return low, high


def two_level_coverage(trials: int) -> list[dict[str, object]]:
    """Coverage, the share of intervals below and above the truth, and mean width, by spread, groups and seeds."""
    rows: list[dict[str, object]] = []
    for name, spread in SPREADS.items():
        truth = true_mean(spread)
        for groups in GROUPS:
            sizes = patients(groups)
            for seeds in SEEDS:
                rng = np.random.default_rng([groups, seeds])
                parts = [draw(rng, 250, seeds, sizes, spread) for _ in range(trials // 250)]
                found = [intervals(part, sizes) for part in parts]
                _check(parts[0][:2], sizes, found[0])
                row: dict[str, object] = {"spread": name, "groups": groups, "images": int(sizes.sum()), "seeds": seeds}
                for kind in ("ours", "percentile", "patients"):
                    ends = [getattr(one, kind) for one in found]
                    row[kind] = _summary(
                        np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends]), truth
                    )
                rows.append(row)
    return rows


def _summary(low: np.ndarray, high: np.ndarray, truth: float) -> dict[str, float]:
    return {
        "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 3),
        "too_low": round(float((high < truth).mean()), 3),
        "width": round(float((high - low).mean()), 4),
    }


def _check(values: np.ndarray, sizes: np.ndarray, found: Intervals) -> None:
    """The package gives the same intervals."""
    names = np.repeat(np.arange(len(sizes)), sizes).tolist()
    for trial, one in enumerate(values):
        estimate = two_level_mean(one.tolist(), names)
        if estimate.ci95 is not None:
            np.testing.assert_allclose(estimate.ci95, [end[trial] for end in found.ours], atol=1e-9)
