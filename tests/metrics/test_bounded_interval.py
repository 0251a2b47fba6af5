"""The interval of bounded values, and where it cuts the studentised one."""

import numpy as np
import pytest
from scipy import stats

from vlseg.metrics import bootstrap_mean, compare_paired, two_level_mean
from vlseg.metrics.bootstrap import Clusters, bounded_interval, clusters, interval

RANGE = (-1.0, 1.0)


def few_apart(groups: int = 41, seed: int = 0) -> Clusters:
    """Differences that are 0 but in four groups of unequal sizes, the largest among them."""
    rng = np.random.default_rng(seed)
    counts = np.sort(rng.integers(1, 8, groups)).astype(float)[::-1]
    sums = np.zeros(groups)
    sums[:4] = -np.array([0.9, 0.2, 0.1, 0.05]) * counts[:4]
    return Clusters(sums, counts)


def ratios(gathered: Clusters, end: float, draws: int = 100_000) -> np.ndarray:
    """The definition, by numpy's own Dirichlet."""
    added = (gathered.counts**2).sum() / gathered.counts.sum()
    sums, counts = np.append(gathered.sums, end * added), np.append(gathered.counts, added)
    weights = np.random.default_rng(5).dirichlet(np.ones(len(sums)), draws)
    return (weights @ sums) / (weights @ counts)


@pytest.mark.parametrize("ones", [1, 3, 10, 25, 39])
def test_zeros_and_ones_have_clopper_and_pearsons(ones: int) -> None:
    groups = 40
    sums = np.arange(groups) < ones
    low, high = bounded_interval(Clusters(sums.astype(float), np.ones(groups)), (0, 1))
    # A quantile of 2,000 draws lies at its level with a standard error of 0.35 points.
    assert stats.beta.cdf(low, ones, groups - ones + 1) == pytest.approx(0.025, abs=0.0105)
    assert stats.beta.sf(high, ones + 1, groups - ones) == pytest.approx(0.025, abs=0.0105)


def test_is_the_quantile_of_a_dirichlet() -> None:
    gathered = few_apart()
    low, high = bounded_interval(gathered, RANGE)
    assert np.mean(ratios(gathered, -1) < low) == pytest.approx(0.025, abs=0.0105)
    assert np.mean(ratios(gathered, 1) > high) == pytest.approx(0.025, abs=0.0105)


def test_other_units_and_directions_give_the_same() -> None:
    gathered = few_apart()
    low, high = interval(gathered, "t", RANGE)
    percent = interval(Clusters(100 * gathered.sums, gathered.counts), "t", (-100, 100))
    assert percent == pytest.approx((100 * low, 100 * high))
    shifted = interval(Clusters(gathered.sums + gathered.counts, gathered.counts), "t", (0, 2))
    assert shifted == pytest.approx((1 + low, 1 + high))


def test_few_far_groups_do_not_reach_the_bound() -> None:
    """The studentised lower end is far beyond what differences in a range can have."""
    gathered = few_apart()
    plain, cut = interval(gathered, "t"), interval(gathered, "t", RANGE)
    assert gathered.mean == pytest.approx(-0.055, abs=0.02)
    assert plain[0] < -0.4
    assert -0.25 < cut[0] < gathered.mean
    assert cut == (bounded_interval(gathered, RANGE)[0], plain[1])


@pytest.mark.parametrize("sign", [1, -1])
def test_only_the_side_of_the_groups_apart_is_cut(sign: int) -> None:
    """All of these above the rest: toward the rest the studentised end stays, wherever the other interval ends."""
    values = sign * np.array([0.0] * 26 + [0.4, 0.5, 0.6, 0.8])
    gathered = clusters(values.tolist(), list(range(30)))
    bounds = (0.0, 1.0) if sign > 0 else (-1.0, 0.0)
    plain, other, cut = interval(gathered, "t"), bounded_interval(gathered, bounds), interval(gathered, "t", bounds)
    near, far = (0, 1) if sign > 0 else (1, 0)
    assert abs(other[near]) > abs(plain[near])
    assert cut[near] == (max(plain[0], 0.0) if sign > 0 else min(plain[1], 0.0))
    assert abs(cut[far]) == min(abs(plain[far]), abs(other[far]))


def test_without_both_bounds_nothing_but_a_bound_cuts() -> None:
    gathered = few_apart()
    plain = interval(gathered, "t")
    assert interval(gathered, "t", (-np.inf, np.inf)) == plain
    assert interval(gathered, "t", (-0.1, np.inf)) == (-0.1, plain[1])


def test_many_groups_apart_keep_the_studentised_interval() -> None:
    values = np.random.default_rng(2).beta(8, 3, 200)
    gathered = clusters(values.tolist(), np.repeat(np.arange(100), 2).tolist())
    assert interval(gathered, "t", (0, 1)) == interval(gathered, "t")


def test_callers_hand_the_range_on() -> None:
    gathered = few_apart()
    groups = np.repeat(np.arange(41), gathered.counts.astype(int))
    after = np.repeat(1 + gathered.sums / gathered.counts, gathered.counts.astype(int)).tolist()
    names, before = groups.tolist(), [1.0] * len(groups)
    expected = interval(gathered, "t", RANGE)
    assert compare_paired(before, after, names, largest=1.0).ci95 == pytest.approx(expected)
    assert bootstrap_mean(after, names, bounds=(0, 1)).ci95 == pytest.approx(
        interval(Clusters(gathered.sums + gathered.counts, gathered.counts), "t", (0, 1))
    )
    differences = [b - a for a, b in zip(before, after, strict=True)]
    assert two_level_mean([differences] * 5, names, bounds=RANGE).ci95 == pytest.approx(expected)


def test_order_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered, shuffled = few_apart(), np.random.default_rng(1).permutation(41)
    first = bounded_interval(gathered, RANGE)
    assert bounded_interval(Clusters(gathered.sums[shuffled], gathered.counts[shuffled]), RANGE) == first
    monkeypatch.setattr("vlseg.metrics.bootstrap._DRAWS_AT_ONCE", 1)
    assert bounded_interval(gathered, RANGE) == pytest.approx(first, abs=1e-12)
