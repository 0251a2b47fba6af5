"""Two results on the same samples: their difference, whether it is more than chance, and what could have been seen."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from vlseg.metrics.bootstrap import MIN_GROUPS, Clusters, Floats, bootstrap_mean, clusters

EXACT_GROUPS = 16
"""Up to so many groups every assignment of signs is tried; beyond, FLIPS random ones."""
FLIPS, FLIP_SEED = 20_000, 20240704
POWER, ALPHA = 0.8, 0.05


@dataclass(frozen=True)
class Comparison:
    """A paired difference, second minus first.

    Attributes:
        difference: mean over samples.
        ci95: 95 % interval over groups, or None.
        p: of the sign-flip permutation test, two-sided; None where it cannot be computed.
        p_holm: the same after Holm's correction over the family it belongs to.
        detectable: smallest difference that this test by itself (p < 0.05) would have found with 80 % power, at these
            groups and this spread.
        detectable_holm: the same for the test after Holm's correction: every one of the family at 0.05 / its size. None
            where so few groups can never give so small a p.
        family: how many tests the correction covers.
        n: samples compared; n_groups what was resampled and flipped.
        reason: why something is None.
    """

    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    detectable: float | None
    n: int
    n_groups: int
    p_holm: float | None = None
    reason: str | None = None
    detectable_holm: float | None = None
    family: int = 1


def compare_paired(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable],
    *,
    largest: float = np.inf,
    family: int = 1,
) -> Comparison:
    """The mean of second minus first over the same samples. Where no group differs p is 1.

    Args:
        first: (n,) scores.
        second: (n,) scores of the same samples in the same order.
        groups: (n,) what belongs together.
        largest: what no difference can exceed, 1 for scores in [0, 1]; the interval is cut there.
        family: how many tests Holm's correction will cover, this one among them.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    estimate = bootstrap_mean(differences, groups, bounds=(-largest, largest))
    if not differences:
        return Comparison(None, None, None, None, 0, 0, reason="no sample is in both", family=family)
    gathered = _without_rounding(clusters(differences, groups), differences)
    number = len(gathered.sums)
    if not np.any(gathered.sums):
        reason = "no group differs" if any(differences) else "all differences are zero"
        # Every assignment of signs gives the same total: none is less extreme than the one observed.
        return Comparison(estimate.mean, None, 1.0, None, len(differences), number, reason=reason, family=family)
    return Comparison(
        difference=estimate.mean,
        ci95=estimate.ci95,
        p=sign_flip_p(gathered),
        detectable=detectable_difference(gathered),
        n=len(differences),
        n_groups=number,
        reason=estimate.reason,
        detectable_holm=detectable_difference(gathered, family),
        family=family,
    )


def _without_rounding(gathered: Clusters, differences: Sequence[float]) -> Clusters:
    """Sums that are zero but for rounding, as zero: their signs would all be flipped as if they were differences."""
    slack = 1e-12 * float(np.abs(differences).max())
    return Clusters(np.where(np.abs(gathered.sums) <= slack * gathered.counts, 0.0, gathered.sums), gathered.counts)


def sign_flip_p(gathered: Clusters) -> float:
    """Two-sided p of "no difference" by flipping the signs of whole groups' sums.

    Under the hypothesis either order of a group's two results is as likely. The statistic is the absolute total.
    Exact up to 16 groups; beyond, 20,000 seeded flips, the observed one counted among them.
    """
    sums = np.sort(gathered.sums[gathered.sums != 0])  # flipping a zero changes nothing, nor should the groups' order
    observed = abs(float(sums.sum()))
    slack = 1e-12 * float(np.abs(sums).sum())  # sums of the same numbers in another order
    if len(sums) <= EXACT_GROUPS:
        return float(np.mean(np.abs(_all_signs(len(sums)) @ sums) >= observed - slack))
    rng = np.random.default_rng(FLIP_SEED)
    extreme = 0
    for start in range(0, FLIPS, 1000):
        signs = 2.0 * rng.integers(0, 2, size=(min(1000, FLIPS - start), len(sums))) - 1
        extreme += int(np.count_nonzero(np.abs(signs @ sums) >= observed - slack))
    return (1 + extreme) / (1 + FLIPS)


@cache
def _all_signs(number: int) -> Floats:
    """(2**number, number) every assignment of signs."""
    bits = np.arange(2**number)[:, None] >> np.arange(number) & 1
    return (2 * bits - 1).astype(np.float64)


def detectable_difference(gathered: Clusters, family: int = 1) -> float | None:
    """The smallest true difference found with 80 % power at 0.05 / family, by Student's t; None below ten groups.

    From the spread of the paired group differences themselves: (t_(1 - 0.025 / family) + t_0.8) times their standard
    error, with G - 1 degrees of freedom. None, too, where the sign-flip test of these groups has no p so
    small, and where all groups differ alike: there is no spread to go by.
    """
    number = len(gathered.sums)
    if number < MIN_GROUPS or smallest_p(int(np.count_nonzero(gathered.sums))) > ALPHA / family:
        return None
    error = gathered.standard_error
    if error <= 1e-12 * abs(gathered.mean):
        return None
    quantiles = scipy.stats.t.ppf([1 - ALPHA / family / 2, POWER], df=number - 1)
    return float(quantiles.sum() * error)


def smallest_p(groups: int) -> float:
    """The smallest p that the sign-flip test can give when so many groups differ."""
    return 2.0 ** (1 - groups) if groups <= EXACT_GROUPS else 1 / (1 + FLIPS)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of a family; None stays None and does not count."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * p))
        adjusted[index] = running
    return adjusted


@dataclass(frozen=True)
class MixedEffect:
    """A method's effect over several datasets: the difference common to all, and its spread among them."""

    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    between_datasets_std: float | None
    n_datasets: int
    reason: str | None = None


def mixed_effect(differences: Sequence[float], datasets: Sequence[str], groups: Sequence[Hashable]) -> MixedEffect:
    """Paired differences as a common effect, a random effect of the dataset, and the spread of the group means.

    A linear mixed model of the groups' mean differences with the dataset as random intercept, by restricted maximum
    likelihood. Needs three datasets; the interval is Student's with one degree of freedom less than datasets.

    Args:
        differences: (n,) second minus first.
        datasets: (n,) names.
        groups: (n,) what belongs together within its dataset.
    """
    names = sorted(set(datasets))
    mean = float(np.mean(differences)) if len(differences) else None
    if len(names) < 3:
        return MixedEffect(mean, None, None, None, len(names), f"{len(names)} datasets, fewer than 3")
    keys = list(zip(datasets, groups, strict=True))
    order = list(dict.fromkeys(keys))
    gathered = clusters(list(differences), keys)
    means: Floats = gathered.sums / gathered.counts
    if np.ptp(means) <= 1e-12 * float(np.abs(means).max()):
        return MixedEffect(mean, None, None, None, len(names), "all differences are equal")
    effect, error, spread = _random_intercepts([means[[one == name for one, _ in order]] for name in names])
    df = len(names) - 1
    half = float(scipy.stats.t.ppf(0.975, df)) * error
    p = float(2 * scipy.stats.t.sf(abs(effect) / error, df))
    # With one group in every dataset nothing parts the spread of the datasets from that of the groups.
    between = spread if len(means) > len(names) else None
    return MixedEffect(effect, (effect - half, effect + half), p, between, len(names))


def _random_intercepts(datasets: Sequence[Floats]) -> tuple[float, float, float]:
    """Common mean, its standard error, and the standard deviation between datasets, by restricted likelihood.

    With r = variance between / variance within, all else has a closed form: each dataset weighs n / (1 + n r) and the
    likelihood is profiled over r. General-purpose fitting (statsmodels) ends in NaN on one in forty of such problems.
    """
    sizes = np.array([len(one) for one in datasets], dtype=np.float64)
    centres = np.array([one.mean() for one in datasets])
    within = float(sum(((one - one.mean()) ** 2).sum() for one in datasets))
    freedom = float(sizes.sum() - 1)

    def fit(ratio: float) -> tuple[float, float, float]:
        """Minus twice the log-likelihood, the mean, and the variance within."""
        weights = sizes / (1 + sizes * ratio)
        mean = float((weights * centres).sum() / weights.sum())
        variance = (within + float((weights * (centres - mean) ** 2).sum())) / freedom
        value = freedom * np.log(variance) + np.log1p(sizes * ratio).sum() + np.log(weights.sum())
        return float(value), mean, variance

    logs = np.linspace(-14, 14, 113)  # of the ratio; a grid first: the profile may have two valleys
    start = int(np.argmin([fit(float(np.exp(one)))[0] for one in logs]))
    bracket = (logs[max(0, start - 1)], logs[min(len(logs) - 1, start + 1)])
    found = scipy.optimize.minimize_scalar(lambda one: fit(float(np.exp(one)))[0], bounds=bracket, method="bounded")
    ratio = min((0.0, float(np.exp(found.x))), key=lambda one: fit(one)[0])
    _, mean, variance = fit(ratio)
    error = float(np.sqrt(variance / (sizes / (1 + sizes * ratio)).sum()))
    return mean, error, float(np.sqrt(variance * ratio))
