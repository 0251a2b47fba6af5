"""Several methods over several datasets: average ranks, and which of them can be told apart (Demsar 2006)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

MIN_METHODS, MIN_DATASETS = 3, 5


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods, best first, and the tests on them.

    Attributes:
        methods: names, by average rank.
        ranks: of each method the mean of its ranks over the datasets; 1 is the best, ties share theirs.
        n_datasets: how many datasets were ranked.
        chi2: Friedman's statistic.
        f, p: Iman and Davenport's statistic from it and its p, by which "all methods are alike" is judged.
        critical_difference: Nemenyi's: average ranks that are nearer cannot be told apart.
        alpha: level of both tests.
        alike: sets of methods, each as a run of `methods`, that cannot be told apart; all in one where p is not below
            alpha. A method that differs from all others is in none.
        reason: why there is nothing to show; everything else is then empty.
    """

    methods: tuple[str, ...] = ()
    ranks: tuple[float, ...] = ()
    n_datasets: int = 0
    chi2: float | None = None
    f: float | None = None
    p: float | None = None
    critical_difference: float | None = None
    alpha: float = 0.05
    alike: tuple[tuple[str, ...], ...] = ()
    reason: str | None = None


def compare_ranks(scores: Mapping[str, Mapping[str, float | None]], *, alpha: float = 0.05) -> Ranks:
    """Rank the methods within each dataset and test the average ranks.

    Friedman's test in Iman and Davenport's form, and where it rejects, Nemenyi's test of all pairs: two average ranks
    differ where they are at least q * sqrt(k (k + 1) / (6 N)) apart, q from the studentised range over sqrt(2)
    (J. Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006).

    Args:
        scores: by method and dataset, higher is better. Every method needs every dataset.
        alpha: level.
    """
    datasets = list(dict.fromkeys(name for one in scores.values() for name in one))
    values = np.array([[_number(one.get(name)) for name in datasets] for one in scores.values()], dtype=np.float64)
    holes = [(method, name) for method, one in scores.items() for name in datasets if np.isnan(_number(one.get(name)))]
    if len(scores) < MIN_METHODS:
        return Ranks(reason=f"{len(scores)} methods, fewer than {MIN_METHODS}", alpha=alpha)
    if len(datasets) < MIN_DATASETS:
        return Ranks(reason=f"{len(datasets)} datasets, fewer than {MIN_DATASETS}", alpha=alpha)
    if holes:
        return Ranks(reason=f"{holes[0][0]} was not scored on {holes[0][1]}", alpha=alpha)
    # Of equal scores whose last digits differ by the order of a sum neither is the better.
    ranked = scipy.stats.rankdata(-np.round(values, 9), axis=0)
    number, size = ranked.shape[1], ranked.shape[0]
    average = ranked.mean(axis=1)
    chi2, f, p = friedman(ranked)
    critical = nemenyi_quantile(size, alpha) * float(np.sqrt(size * (size + 1) / (6 * number)))
    order = sorted(range(size), key=lambda one: (average[one], one))
    names = list(scores)
    methods = tuple(names[one] for one in order)
    ordered = tuple(float(average[one]) for one in order)
    alike = _alike(methods, ordered, critical) if p < alpha else (methods,)
    return Ranks(methods, ordered, number, chi2, f, p, critical, alpha, alike)


def friedman(ranked: np.ndarray) -> tuple[float, float, float]:
    """Friedman's chi-squared, Iman and Davenport's F from it, and the p of that.

    Not corrected for ties, as in Demsar's paper: where methods tie on a dataset the test is the more cautious.

    Args:
        ranked: (methods, datasets) ranks within each dataset, ties averaged.
    """
    size, number = ranked.shape
    chi2 = 12 * number / (size * (size + 1)) * float(((ranked.mean(axis=1) - (size + 1) / 2) ** 2).sum())
    left = number * (size - 1) - chi2
    if left <= 1e-9 * chi2:  # every dataset ranks alike
        return chi2, float("inf"), 0.0
    f = (number - 1) * chi2 / left
    return chi2, f, float(scipy.stats.f.sf(f, size - 1, (size - 1) * (number - 1)))


@cache
def nemenyi_quantile(methods: int, alpha: float) -> float:
    """Of the studentised range of so many methods over sqrt(2), infinite degrees of freedom."""
    return float(scipy.stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)


def _alike(methods: Sequence[str], ranks: Sequence[float], critical: float) -> tuple[tuple[str, ...], ...]:
    """The longest runs of methods whose first and last are nearer than the critical difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(one for one in range(first, len(ranks)) if one == first or ranks[one] - ranks[first] < critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(tuple(methods[first : last + 1]) for first, last in found)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
