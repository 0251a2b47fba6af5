"""How often 95 % intervals hold the true mean, for scores as segmentation gives them.

Dice of a case: 5 % misses (0), 17 % exact answers to empty masks (1), 2 % total failures (0 to 0.2), the rest skewed
towards 1 with an effect of the patient. Groups are of unequal size.

    python benchmarks/interval_coverage.py [--trials 2000] [--part one_level|two_level|bounded|tests]
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from bounded import SCENARIOS, bounded_coverage
from scipy import stats
from two_level import two_level_coverage

from vlseg.metrics.bootstrap import MIN_GROUPS, Method, clusters, interval
from vlseg.metrics.paired import sign_flip_p

METHODS: tuple[Method, ...] = ("percentile", "bca", "t")


def scores(rng: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    """Scores of all cases, group after group."""
    effect = np.repeat(rng.normal(0, 0.8, len(sizes)), sizes)
    usual = 1 / (1 + np.exp(-(2.0 + effect + rng.normal(0, 0.7, len(effect)))))
    kind = rng.random(len(effect))
    usual = np.where(kind < 0.05, 0.0, usual)
    usual = np.where((kind >= 0.05) & (kind < 0.22), 1.0, usual)
    return np.where((kind >= 0.22) & (kind < 0.24), rng.uniform(0, 0.2, len(effect)), usual)


def group_sizes(rng: np.random.Generator, groups: int, n: int) -> np.ndarray:
    """Unequal sizes that add to n, one at least."""
    shares = rng.lognormal(0, 0.8, groups)
    sizes = np.maximum(1, np.floor(shares / shares.sum() * n)).astype(int)
    while sizes.sum() != n:
        sizes[rng.integers(groups)] += 1 if sizes.sum() < n else 0
        largest = int(sizes.argmax())
        sizes[largest] -= 1 if sizes.sum() > n else 0
    return sizes


def coverage(groups: int | None, n: int, trials: int, truth: float) -> dict[str, object]:
    """Coverage, mean width and the share of intervals that lie below the truth, by method."""
    rng = np.random.default_rng([n, groups or 0])
    hits = dict.fromkeys(METHODS, 0)
    below = dict.fromkeys(METHODS, 0)
    widths = dict.fromkeys(METHODS, 0.0)
    for _ in range(trials):
        sizes = np.ones(n, int) if groups is None else group_sizes(rng, groups, n)
        values = scores(rng, sizes)
        gathered = clusters(values.tolist(), np.repeat(np.arange(len(sizes)), sizes).tolist())
        for method in METHODS:
            low, high = interval(gathered, method)
            hits[method] += low <= truth <= high
            below[method] += high < truth
            widths[method] += high - low
    return {
        "n": n,
        "groups": groups or n,
        "coverage": {method: round(hits[method] / trials, 3) for method in METHODS},
        "too_low": {method: round(below[method] / trials, 3) for method in METHODS},
        "width": {method: round(widths[method] / trials, 4) for method in METHODS},
        "reported": (groups or n) >= MIN_GROUPS,
    }


def type_one_error(groups: int, n: int, trials: int) -> float:
    """Share of p < 0.05 between two results that do not differ, on clustered data."""
    rng = np.random.default_rng([7, n, groups])
    hits = 0
    for _ in range(trials):
        sizes = group_sizes(rng, groups, n)
        shared = np.repeat(rng.normal(0, 0.05, groups), sizes)
        difference = shared + rng.normal(0, 0.05, n) * (rng.random(n) < 0.8)
        hits += sign_flip_p(clusters(difference.tolist(), np.repeat(np.arange(groups), sizes).tolist())) < 0.05
    return round(hits / trials, 4)


def power(groups: int, family: int, trials: int) -> dict[str, object]:
    """Share found by the sign-flip test at 0.05 / family when the true difference is the one stated as detectable.

    For the statement alone (at 0.05) and for the one after Holm's correction, judged at the correction's first step.
    """
    rng = np.random.default_rng([11, groups, family])
    error = 0.1 / groups**0.5
    found = dict.fromkeys(("stated_alone", "stated_for_the_family"), 0)
    for kind, level in (("stated_alone", 0.05), ("stated_for_the_family", 0.05 / family)):
        shift = float(stats.t.ppf([1 - level / 2, 0.8], groups - 1).sum()) * error
        for _ in range(trials):
            differences = rng.normal(shift, 0.1, groups)
            p = sign_flip_p(clusters(differences.tolist(), list(range(groups))))
            found[kind] += family * p < 0.05
    shares = {f"power_{kind}": round(count / trials, 3) for kind, count in found.items()}
    return {"groups": groups, "family": family} | shares


def one_level(trials: int) -> dict[str, object]:
    """Intervals of one model."""
    truth = float(np.mean([scores(np.random.default_rng(seed), np.ones(1_000_000, int)).mean() for seed in range(4)]))
    cases = [(None, 60), (None, 100), (None, 400), (6, 60), (10, 100), (20, 100), (50, 400)]
    return {
        "true_mean": round(truth, 4),
        "trials": trials,
        "standard_error_of_a_coverage": round((0.95 * 0.05 / trials) ** 0.5, 4),
        "cases": [coverage(groups, n, trials, truth) for groups, n in cases],
    }


def tests(trials: int) -> dict[str, object]:
    """Error and power of the sign-flip test."""
    errors = {f"{groups} groups, n = {n}": type_one_error(groups, n, trials) for groups, n in ((10, 60), (14, 100))}
    errors |= {f"{groups} groups, n = {n}": type_one_error(groups, n, trials // 4) for groups, n in ((30, 200),)}
    cases = [(15, 1), (15, 10), (30, 3), (30, 10)]
    return {
        "type_one_error_at_0.05": errors,
        "power": [power(groups, family, trials // 2) for groups, family in cases],
    }


def two_level(trials: int) -> dict[str, object]:
    """Intervals of methods."""
    rounded = max(250, trials // 250 * 250)
    return {"two_level_trials": rounded, "two_level": two_level_coverage(rounded)}


def bounded(trials: int) -> dict[str, object]:
    """Intervals of values in a range where few groups are apart."""
    return {
        "bounded_trials": trials,
        "bounded": bounded_coverage(trials, {"Dice, as above": (scores, (0, 1))} | SCENARIOS),
    }


PARTS = {"one_level": one_level, "tests": tests, "two_level": two_level, "bounded": bounded}


def main() -> None:
    """Simulate and write; parts that were not asked for stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "interval_coverage.json")
    asked = parser.parse_args()
    result = json.loads(asked.out.read_text()) if asked.part and asked.out.exists() else {}
    for part in asked.part or PARTS:
        result |= PARTS[part](asked.trials)
    result["date"] = time.strftime("%Y-%m-%d")
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
