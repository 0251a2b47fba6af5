"""A mean with its interval, resampling whole groups."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from vlseg.records import unknown_name

REPLICATES, BOOTSTRAP_SEED, MIN_GROUPS = 2000, 20240703, 10
MIN_SEEDS = 5
MIN_APART = 4
"""Below so many groups that differ from the others a resample misses them all more often than one in forty."""
_DRAWS_AT_ONCE = 32_768
"""What is drawn at a time stays in the processor's cache; the draws are the same in pieces of any size."""

Method = Literal["percentile", "bca", "t"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over n samples, their standard deviation (n - 1), and a 95 % interval or the reason for none."""

    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class Clusters:
    """Sums (G,) and counts (G,) of a sample's values by group; the mean is the ratio of their totals."""

    sums: Floats
    counts: Floats

    @property
    def mean(self) -> float:
        """Of all values."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def standard_error(self) -> float:
        """Of the mean, from the spread of the groups (linearised ratio, G - 1 degrees of freedom)."""
        total, mean = np.array([self.counts.sum()]), np.array([self.mean])
        return float(_standard_errors(self.sums[None], self.counts[None], mean, total)[0])


def clusters(values: Sequence[float], groups: Sequence[Hashable]) -> Clusters:
    """Values (n,) gathered by group (n,), in order of first appearance."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = np.asarray([numbers[name] for name in groups])
    data = np.asarray(values, dtype=np.float64)
    return Clusters(np.bincount(index, weights=data).astype(np.float64), np.bincount(index).astype(np.float64))


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable],
    *,
    method: Method = "t",
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """The mean of all values with a 95 % interval, resampling whole groups.

    Seeded: the same values give the same interval, in whatever order. There is none below ten groups (too
    few to resample), nor where all values are equal: a resample could only repeat that value, so an interval
    of no width would claim a certainty that the data do not give. Nor where fewer than four groups differ from the
    rest: what they add is then a matter of whether a resample happens to hold them.

    Args:
        values: (n,) finite numbers.
        groups: (n,) what belongs together, e.g. patients.
        method: "t" (studentised by the groups' spread), "percentile", or "bca" (bias-corrected and accelerated, Efron
            1987). docs/statistics.md gives the coverage of each: that of "t" comes nearest to 95 %.
        bounds: what no value can leave, e.g. (0, 1). The interval is cut there, and that of "t" where
            `bounded_interval` ends: with few groups apart from the rest it can reach as far as the bounds themselves.

    Raises:
        InputError: an unknown method.
    """
    if method not in get_args(Method):
        raise unknown_name("bootstrap method", method, get_args(Method))
    if not values:
        return Estimate(None, None, None, 0, "no value is defined")
    data = np.asarray(values, dtype=np.float64)
    mean, std = float(data.mean()), float(data.std(ddof=1)) if len(data) > 1 else None
    gathered = clusters(values, groups)
    if len(gathered.sums) < MIN_GROUPS:
        return Estimate(mean, std, None, len(data), f"{len(gathered.sums)} groups, fewer than {MIN_GROUPS}")
    if np.ptp(data) == 0:
        return Estimate(mean, std, None, len(data), "all values are equal")
    if gathered.standard_error < 1e-12 * max(1.0, float(np.abs(data).max())):
        return Estimate(mean, std, None, len(data), "all groups have the same mean")
    apart = _apart(gathered)
    if apart < MIN_APART:
        reason = f"{apart} of {len(gathered.sums)} groups differ from the others, too few to resample"
        return Estimate(mean, std, None, len(data), reason)
    return Estimate(mean, std, interval(gathered, method, bounds), len(data))


def _apart(gathered: Clusters) -> int:
    """How many groups do not have the mean that most groups have."""
    means = gathered.sums / gathered.counts
    near = np.sort(means)
    # Runs of means that are equal but for rounding.
    steps = np.diff(near) > 1e-12 * max(1.0, float(np.abs(near).max()))
    runs = np.bincount(np.concatenate([[0], np.cumsum(steps)]))
    return len(means) - int(runs.max())


def interval(
    gathered: Clusters, method: Method, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """The 95 % interval of a mean, within what no value can leave, over groups that are not all alike."""
    means, errors = _resampled(gathered, studentised=method == "t")
    if method == "t":
        low, high = _studentised(gathered, means, errors)
        limits = _limits(gathered, bounds)
    else:
        levels = _bca_levels(gathered, means) if method == "bca" else (0.025, 0.975)
        low, high = (float(end) for end in np.percentile(means, [100 * level for level in levels]))
        limits = bounds
    return max(low, limits[0]), min(high, limits[1])


def _limits(gathered: Clusters, bounds: tuple[float, float]) -> tuple[float, float]:
    """Where a studentised interval is cut: at the bounds, or before them on a side where few groups lie outermost.

    Below four groups apart there is no interval. Where all of these lie on one side of the rest, the means that get
    one lie too far on that side, and `bounded_interval`, which knows of no such choice, reaches back too little.
    """
    if not np.all(np.isfinite(bounds)):
        return bounds
    means = gathered.sums / gathered.counts
    slack = 1e-12 * max(1.0, float(np.abs(means).max()))
    lowest, highest = (np.count_nonzero(np.abs(means - end) <= slack) for end in (means.min(), means.max()))
    low, high = bounded_interval(gathered, bounds)
    return (
        max(low, bounds[0]) if 3 * lowest < len(means) else bounds[0],
        min(high, bounds[1]) if 3 * highest < len(means) else bounds[1],
    )


def bounded_interval(gathered: Clusters, bounds: tuple[float, float]) -> tuple[float, float]:
    """A 95 % interval for the mean of values that cannot leave their finite bounds.

    Gaffke's (2005; Learned-Miller and Thomas, arXiv:1905.06208): the groups, and a made-up one whose values all lie
    at a bound, get random weights that add to one, any set of weights as likely as another (Dirichlet). The lower end
    is the 2.5 % quantile of the weighted mean with the made-up group at the lower bound, the upper end the 97.5 %
    quantile with it at the upper one. For zeros and ones in groups of one size this is Clopper and Pearson's interval.
    The made-up group is as large as the group that a sample lies in is on average; the mean group would be too small.
    """
    order = np.lexsort((gathered.sums, gathered.counts))
    sums, counts = gathered.sums[order], gathered.counts[order]
    size = float((counts**2).sum() / counts.sum())
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = max(1, _DRAWS_AT_ONCE // (len(sums) + 1))
    low, high = np.empty(REPLICATES), np.empty(REPLICATES)
    for start in range(0, REPLICATES, rows):
        part = slice(start, min(start + rows, REPLICATES))
        # Exponential variables over their sum are a Dirichlet's; the sum cancels in a ratio.
        weights = rng.standard_exponential((part.stop - start, len(sums) + 1))
        total, added = weights[:, :-1] @ sums, weights[:, -1] * size
        count = weights[:, :-1] @ counts + added
        low[part], high[part] = (total + added * bounds[0]) / count, (total + added * bounds[1]) / count
    return float(np.percentile(low, 2.5)), float(np.percentile(high, 97.5))


def _resampled(gathered: Clusters, *, studentised: bool) -> tuple[Floats, Floats]:
    """(REPLICATES,) means of as many groups drawn with replacement, and their standard errors where asked for."""
    order = np.lexsort((gathered.sums, gathered.counts))  # the interval is of the groups, not of their order in a file
    sums, counts = gathered.sums[order], gathered.counts[order]
    # Where all groups are of one size, as in most data, any draw of them is.
    size = counts[0] if counts[0] == counts[-1] else None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = max(1, _DRAWS_AT_ONCE // len(sums))
    means, errors = np.empty(REPLICATES), np.empty(REPLICATES if studentised else 0)
    for start in range(0, REPLICATES, rows):
        part = slice(start, min(start + rows, REPLICATES))
        drawn = rng.integers(len(sums), size=(part.stop - start, len(sums)))
        sums_drawn = sums.take(drawn)
        counts_drawn = counts.take(drawn) if size is None else np.broadcast_to(size, drawn.shape)
        total = counts_drawn.sum(axis=1) if size is None else np.full(len(drawn), size * len(sums))
        means[part] = sums_drawn.sum(axis=1) / total
        if studentised:
            errors[part] = _standard_errors(sums_drawn, counts_drawn, means[part], total)
    return means, errors


def _standard_errors(sums: Floats, counts: Floats, means: Floats, total: Floats) -> Floats:
    """(R,) standard error of each row's ratio of totals, from (R, G) sums and counts, and the ratios themselves."""
    residuals = sums - means[:, None] * counts
    number = sums.shape[1]
    result: Floats = np.sqrt((residuals**2).sum(axis=1) * number / max(number - 1, 1)) / total
    return result


def _studentised(gathered: Clusters, means: Floats, errors: Floats) -> tuple[float, float]:
    """Resamples of equal groups only have no spread to divide by; they are left out."""
    usable = errors > 1e-12 * max(1.0, abs(gathered.mean))
    ratios = (means[usable] - gathered.mean) / errors[usable]
    low, high = np.percentile(ratios, [2.5, 97.5])
    error = gathered.standard_error
    return gathered.mean - float(high) * error, gathered.mean - float(low) * error


def _bca_levels(gathered: Clusters, means: Floats) -> tuple[float, float]:
    """Efron's corrected percentiles: bias from the share of resamples below the mean, acceleration by jackknife."""
    below = (np.count_nonzero(means < gathered.mean) + 0.5 * np.count_nonzero(means == gathered.mean)) / len(means)
    bias = float(scipy.stats.norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means))))
    left_out = (gathered.sums.sum() - gathered.sums) / (gathered.counts.sum() - gathered.counts)
    deviations = left_out.mean() - left_out
    scale = float((deviations**2).sum()) ** 1.5
    acceleration = float((deviations**3).sum()) / (6 * scale) if scale > 0 else 0.0
    levels = []
    for level in (0.025, 0.975):
        shifted = bias + float(scipy.stats.norm.ppf(level))
        levels.append(float(scipy.stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))))
    return levels[0], levels[1]


def two_level_mean(
    runs: Sequence[Sequence[float]], groups: Sequence[Hashable], *, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """The mean of a method over its seeds with a 95 % interval for other seeds and other groups.

    A claim about a method must hold for another seed as well; with fewer than five the values themselves say more.
    The groups' part of the interval is the studentised bootstrap of the scores averaged over seeds; the seeds' part is
    Student's t from the spread of the seeds' means, less what the groups at hand add to it. Either side's reach is the
    root of both squares (variance estimates recovery, Zou and Donner 2008). docs/statistics.md gives the coverage.

    Args:
        runs: (S, n) values of each seed's run on the same n samples.
        groups: (n,) what belongs together.
        bounds: what no value can leave; the interval is cut there, and the groups' part as in `bootstrap_mean`.

    Returns:
        `n` counts samples, `std` is that of the seeds' means.
    """
    data = np.asarray(runs, dtype=np.float64)
    if data.size == 0:
        return Estimate(None, None, None, 0, "no value is defined")
    seeds, n = data.shape
    std = float(data.mean(axis=1).std(ddof=1)) if seeds > 1 else None
    over_seeds = bootstrap_mean(data.mean(axis=0).tolist(), groups, bounds=bounds)
    answer = Estimate(over_seeds.mean, std, None, n)
    if seeds < MIN_SEEDS:
        return replace(answer, reason=f"{seeds} seeds, fewer than {MIN_SEEDS}")
    number = len(dict.fromkeys(groups))
    if number < MIN_GROUPS:
        return replace(answer, reason=f"{number} groups, fewer than {MIN_GROUPS}")
    sums = np.stack([clusters(row.tolist(), groups).sums for row in data])
    counts = clusters(data[0].tolist(), groups).counts
    seed_reach = _seed_reach(sums, counts)
    level = clusters(data.mean(axis=0).tolist(), groups).standard_error < 1e-12 * max(1.0, float(np.abs(data).max()))
    if level and seed_reach == 0:
        return replace(answer, reason="all seeds and groups have the same mean")
    if over_seeds.ci95 is None and not level:
        return replace(answer, reason=over_seeds.reason)
    mean = float(data.mean())
    low, high = over_seeds.ci95 or (mean, mean)
    below, above = np.hypot(mean - low, seed_reach), np.hypot(high - mean, seed_reach)
    return replace(answer, ci95=(max(mean - float(below), bounds[0]), min(mean + float(above), bounds[1])))


def _seed_reach(sums: Floats, counts: Floats) -> float:
    """Half the 95 % interval that the choice of S seeds alone gives, from (S, G) sums and (G,) counts.

    The spread of the seeds' means holds, beside that of the seeds, how seeds and groups at hand happen to suit each
    other. That part is in the spread of the groups already and is taken off, down to zero.
    """
    seeds, number = sums.shape
    means = sums.sum(axis=1) / counts.sum()
    residuals = sums - means[:, None] * counts
    apart = residuals - residuals.mean(axis=0)
    mixed = number / (number - 1) * float((apart**2).sum()) / ((seeds - 1) * float(counts.sum()) ** 2)
    own = float(means.var(ddof=1)) - mixed
    if own <= 1e-24 * max(1.0, float(np.abs(means).max()) ** 2):
        return 0.0
    return float(scipy.stats.t.ppf(0.975, seeds - 1) * np.sqrt(own / seeds))
