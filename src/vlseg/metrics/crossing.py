"""From the data a model was trained on to data it was not: means, harmonic mean, drop."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from vlseg.metrics.bootstrap import MIN_GROUPS, Clusters, clusters


@dataclass(frozen=True)
class Crossing:
    """Means over datasets, each dataset counting the same; `drop` is in-domain minus cross-dataset.

    The intervals are of the datasets at hand, not of datasets in general: groups are resampled, datasets are not.
    """

    in_domain: float | None
    cross_dataset: float | None
    harmonic_mean: float | None
    harmonic_ci95: tuple[float, float] | None
    drop: float | None
    drop_ci95: tuple[float, float] | None
    reason: str | None = None


def crossing(
    values: Mapping[str, Sequence[float]], groups: Mapping[str, Sequence[Hashable]], trained_on: Sequence[str]
) -> Crossing:
    """What is lost from in-domain to other data.

    Intervals: Student's t with Welch's and Satterthwaite's degrees of freedom, from the groups' spread within each
    dataset (the datasets share no group); for the harmonic mean by the delta method.

    Args:
        values: (n,) scores by dataset, none of them empty.
        groups: (n,) what belongs together, by dataset.
        trained_on: names of the in-domain datasets.
    """
    gathered = {name: clusters(found, groups[name]) for name, found in values.items()}
    inside = [one for name, one in gathered.items() if name in trained_on]
    outside = [one for name, one in gathered.items() if name not in trained_on]
    a = float(np.mean([one.mean for one in inside])) if inside else None
    b = float(np.mean([one.mean for one in outside])) if outside else None
    if a is None or b is None:
        lacking = "data it was trained on" if a is None else "other data"
        return Crossing(a, b, None, None, None, None, f"not scored on {lacking}")
    few = [name for name, one in gathered.items() if len(one.sums) < MIN_GROUPS]
    harmonic = 2 * a * b / (a + b) if a + b > 0 else 0.0
    if few:
        return Crossing(a, b, harmonic, None, a - b, None, f"{few[0]}: fewer than {MIN_GROUPS} groups")
    drop = _interval(a - b, [(1.0, inside), (-1.0, outside)])
    weights = (2 * b**2 / (a + b) ** 2, 2 * a**2 / (a + b) ** 2) if a + b > 0 else (0.0, 0.0)
    around = _interval(harmonic, [(weights[0], inside), (weights[1], outside)])
    reason = "the groups of every dataset are alike" if drop is None else None
    return Crossing(a, b, harmonic, around, a - b, drop, reason)


def _interval(value: float, parts: Sequence[tuple[float, Sequence[Clusters]]]) -> tuple[float, float] | None:
    """Around a weighted sum of means of means."""
    variances = np.array([(weight * one.standard_error / len(side)) ** 2 for weight, side in parts for one in side])
    degrees = np.array([len(one.sums) - 1 for _, side in parts for one in side])
    if variances.sum() < 1e-24:
        return None
    freedom = variances.sum() ** 2 / (variances**2 / degrees).sum()
    reach = float(scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum()))
    return value - reach, value + reach
