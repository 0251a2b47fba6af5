"""Paired comparisons and intervals against independent oracles and by simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vlseg.metrics.bootstrap import bootstrap_mean, clusters, interval, two_level_mean
from vlseg.metrics.paired import compare_paired, detectable_difference, holm, mixed_effect, sign_flip_p


def test_sign_flips_equal_all_assignments_by_hand() -> None:
    values, groups = [0.1, 0.2, -0.05, 0.3, 0.02, 0.02], list("aabcde")
    sums = np.array([0.3, -0.05, 0.3, 0.02, 0.02])
    extreme = [abs(np.dot(signs, sums)) >= abs(sums.sum()) - 1e-12 for signs in product((-1, 1), repeat=5)]
    assert sign_flip_p(clusters(values, groups)) == pytest.approx(np.mean(extreme))


def test_sign_flips_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (8, 12):
        values = rng.normal(0.3, 1, n)
        theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
        assert sign_flip_p(clusters(values.tolist(), list(range(n)))) == pytest.approx(theirs)
    values = rng.normal(0.15, 1, 60)
    theirs = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert sign_flip_p(clusters(values.tolist(), list(range(60)))) == pytest.approx(theirs, abs=0.015)


@pytest.mark.slow
def test_type_one_error_on_clustered_data() -> None:
    """Images of a patient share their difference: flipping images would find too much, flipping patients does not."""
    rng = np.random.default_rng(5)
    trials, groups, hits, naive = 4000, 12, 0, 0
    sizes = np.array([1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 12, 16])
    names = np.repeat(np.arange(groups), sizes).tolist()
    for _ in range(trials):
        values = np.repeat(rng.normal(0, 1, groups), sizes) + rng.normal(0, 1, sizes.sum())
        hits += sign_flip_p(clusters(values.tolist(), names)) < 0.05
        naive += stats.ttest_1samp(values, 0).pvalue < 0.05
    assert 0.04 <= hits / trials <= 0.06
    assert naive / trials > 0.2


def test_power_at_the_detectable_difference() -> None:
    rng = np.random.default_rng(6)
    groups, trials, found = 25, 1500, 0
    spread = 0.1
    typical = float(sum(stats.t.ppf([0.975, 0.8], groups - 1)) * spread / np.sqrt(groups))
    for _ in range(trials):
        values = rng.normal(typical, spread, groups)
        found += stats.ttest_1samp(values, 0).pvalue < 0.05
    assert found / trials == pytest.approx(0.8, abs=0.04)
    values = rng.normal(0, spread, groups)
    ours = detectable_difference(clusters(values.tolist(), list(range(groups))))
    assert ours == pytest.approx(sum(stats.t.ppf([0.975, 0.8], groups - 1)) * stats.sem(values))


def test_power_after_holm_at_the_difference_stated_for_it() -> None:
    """One of twelve comparisons has a true difference, of the size that is said to be found in four of five."""
    rng = np.random.default_rng(16)
    groups, family, trials, spread = 25, 12, 4000, 0.1
    error = spread / np.sqrt(groups)
    corrected = float(sum(stats.t.ppf([1 - 0.025 / family, 0.8], groups - 1)) * error)
    alone = float(sum(stats.t.ppf([0.975, 0.8], groups - 1)) * error)

    def found(shift: float) -> float:
        means = rng.normal(0, spread, (trials, family, groups)) + shift * (np.arange(family) == 0)[:, None]
        p = stats.ttest_1samp(means, 0, axis=2).pvalue
        return float(np.mean([(holm(row.tolist())[0] or 0.0) < 0.05 for row in p]))

    assert found(corrected) == pytest.approx(0.8, abs=0.04)
    assert found(alone) < 0.5
    values = rng.normal(0, spread, groups)
    ours = compare_paired([0.0] * groups, values.tolist(), list(range(groups)), family=family)
    assert ours.detectable_holm == pytest.approx(
        sum(stats.t.ppf([1 - 0.025 / family, 0.8], groups - 1)) * stats.sem(values)
    )
    assert ours.detectable == pytest.approx(sum(stats.t.ppf([0.975, 0.8], groups - 1)) * stats.sem(values))


def test_what_so_few_groups_can_never_show_is_not_promised() -> None:
    """Ten groups have 1,024 assignments of signs: p >= 1/512, never below 0.05 / 45."""
    values = np.random.default_rng(17).normal(5, 0.1, 10).tolist()
    found = compare_paired([0.0] * 10, values, list(range(10)), family=45)
    assert found.p == pytest.approx(1 / 512)
    assert found.detectable is not None
    assert found.detectable_holm is None
    assert compare_paired([0.0] * 10, values, list(range(10)), family=25).detectable_holm is not None


def test_a_constant_shift_is_significant_and_has_no_interval() -> None:
    found = compare_paired([0.5] * 20, [0.6] * 20, list(range(20)))
    assert found.difference == pytest.approx(0.1)
    assert found.p == pytest.approx(1 / 20_001, rel=3)
    assert (found.ci95, found.detectable, found.detectable_holm) == (None, None, None)
    two = compare_paired([0.5] * 20, [0.6] * 20, [n % 2 for n in range(20)])
    assert (two.p, two.n_groups, two.detectable) == (0.5, 2, None)
    one = compare_paired([0.5], [0.9], ["a"])
    assert (one.p, one.n, one.ci95) == (1.0, 1, None)


def test_holm_equals_statsmodels() -> None:
    rng = np.random.default_rng(2)
    for n in (1, 2, 5, 20):
        p = rng.random(n) ** 3
        np.testing.assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    with_gaps = holm([0.01, None, 0.04])
    assert with_gaps[1] is None
    assert with_gaps[0] == pytest.approx(0.02)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_agree_with_scipy(method: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.beta(5, 1.2, 80)
    low, high = interval(clusters(values.tolist(), list(range(80))), method)  # type: ignore[arg-type]
    name = {"percentile": "percentile", "bca": "BCa"}[method]
    theirs = stats.bootstrap((values,), np.mean, method=name, n_resamples=9999, rng=rng).confidence_interval
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.06 * width
    assert abs(high - theirs.high) < 0.06 * width


def test_studentised_interval_of_normal_groups_is_students() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0.7, 0.1, 40)
    low, high = interval(clusters(values.tolist(), list(range(40))), "t")
    theirs = stats.t.interval(0.95, 39, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose((low, high), theirs, atol=0.012)


def test_standard_error_of_groups_of_one_is_the_usual() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert clusters(values.tolist(), list(range(30))).standard_error == pytest.approx(stats.sem(values))


def test_degenerate_cases_give_null_and_the_reason() -> None:
    same = compare_paired([0.5] * 12, [0.5] * 12, list(range(12)))
    assert (same.p, same.ci95, same.detectable, same.difference) == (1.0, None, None, 0.0)
    assert same.reason == "all differences are zero"
    few = compare_paired([0.5, 0.6, 0.7], [0.6, 0.65, 0.9], list("abc"))
    assert few.ci95 is None
    assert few.detectable is None
    assert few.p == pytest.approx(0.25)
    assert few.reason == "3 groups, fewer than 10"
    assert compare_paired([], [], []).reason == "no sample is in both"
    # Every group gains a tenth and loses a tenth; the sums differ from zero by rounding alone, all in one direction.
    cancelled = compare_paired([0.7, 0.6] * 12, [0.8, 0.5] * 12, [n // 2 for n in range(24)])
    assert (cancelled.p, cancelled.ci95, cancelled.detectable) == (1.0, None, None)
    assert cancelled.reason == "no group differs"


@pytest.mark.parametrize("seed_spread", [0.0, 0.2])
def test_two_levels_cover_other_seeds_and_other_patients(seed_spread: float) -> None:
    """Normal scores of five seeds and thirty patients: the interval holds the true mean about 95 times in a hundred.

    Resampling both levels held it 82 times where seeds differ widely.
    """
    rng = np.random.default_rng(18)
    trials, hits = 150, 0
    for _ in range(trials):
        values = 0.7 + rng.normal(0, seed_spread, (5, 1)) + rng.normal(0, 0.1, 30) + rng.normal(0, 0.05, (5, 30))
        ci95 = two_level_mean(values.tolist(), list(range(30))).ci95
        assert ci95 is not None
        hits += ci95[0] <= 0.7 <= ci95[1]
    assert 0.91 <= hits / trials <= 0.99


def test_two_levels_of_one_kind_are_the_known_intervals() -> None:
    rng = np.random.default_rng(19)
    names = list(range(40))
    # No seed differs: the interval over patients.
    patients = rng.beta(6, 2, 40)
    same = two_level_mean([patients.tolist()] * 6, names)
    assert same.ci95 == pytest.approx(bootstrap_mean(patients.tolist(), names).ci95)
    # No patient differs: Student's t over the seeds' means.
    seeds = rng.normal(0.7, 0.03, 6)
    level = two_level_mean([[one] * 40 for one in seeds], names)
    assert level.ci95 == pytest.approx(stats.t.interval(0.95, 5, loc=seeds.mean(), scale=stats.sem(seeds)))
    # Seeds that differ from patient to patient only have no effect of their own.
    mixed = np.tile([[0.5, 0.7], [0.7, 0.5]], (3, 20))
    assert two_level_mean(mixed.tolist(), names).reason == "all seeds and groups have the same mean"
    cut = two_level_mean([[one] * 40 for one in (0.99, 1.0, 1.0, 0.9, 1.0)], names, bounds=(0, 1))
    assert cut.ci95 is not None
    assert cut.ci95[1] == 1.0


def test_two_levels_are_wider_than_one() -> None:
    rng = np.random.default_rng(8)
    base = rng.beta(6, 2, 60)
    runs = [(base + rng.normal(0, 0.08) + rng.normal(0, 0.02, 60)).tolist() for _ in range(6)]
    both = two_level_mean(runs, list(range(60)))
    one = bootstrap_mean(np.mean(runs, axis=0).tolist(), list(range(60)))
    assert both.ci95 is not None
    assert one.ci95 is not None
    assert both.ci95[1] - both.ci95[0] > 1.3 * (one.ci95[1] - one.ci95[0])
    assert both.mean == pytest.approx(one.mean)
    level = two_level_mean([[0.2, 0.4] * 12] * 5, [n // 2 for n in range(24)])
    assert (level.ci95, level.reason) == (None, "all seeds and groups have the same mean")
    three = two_level_mean(runs[:3], list(range(60)))
    assert (three.ci95, three.reason) == (None, "3 seeds, fewer than 5")


def test_mixed_effect_over_datasets() -> None:
    rng = np.random.default_rng(9)
    datasets = [f"d{number}" for number in range(6) for _ in range(40)]
    effects = dict(zip(sorted(set(datasets)), rng.normal(0.05, 0.02, 6), strict=True))
    values = [effects[name] + rng.normal(0, 0.05) for name in datasets]
    found = mixed_effect(values, datasets, list(range(len(values))))
    assert found.ci95 is not None
    assert found.difference == pytest.approx(np.mean(list(effects.values())), abs=0.01)
    assert found.ci95[0] < found.difference < found.ci95[1]
    assert found.between_datasets_std == pytest.approx(np.std(list(effects.values()), ddof=1), abs=0.012)
    assert mixed_effect(values[:80], datasets[:80], list(range(80))).reason == "2 datasets, fewer than 3"
    assert mixed_effect([0.1] * 240, datasets, list(range(240))).reason == "all differences are equal"


def test_mixed_effect_of_equally_large_datasets_is_the_analysis_of_variance() -> None:
    """Balanced restricted likelihood has a closed form: mean squares between and within."""
    rng = np.random.default_rng(10)
    for shift in (0.1, 0.02):
        values = rng.normal(0, shift, (5, 1)) + rng.normal(0.05, 0.05, (5, 20))
        between = 20 * values.mean(axis=1).var(ddof=1)
        within = float(np.mean(values.var(axis=1, ddof=1)))
        names = [f"d{number}" for number in range(5) for _ in range(20)]
        found = mixed_effect(values.ravel().tolist(), names, list(range(100)))
        assert found.ci95 is not None
        assert found.difference == pytest.approx(values.mean())
        if between > within:
            half = stats.t.ppf(0.975, 4) * np.sqrt(between / 100)
            assert found.ci95 == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-4)
            assert found.between_datasets_std == pytest.approx(np.sqrt((between - within) / 20), rel=1e-3)


def test_mixed_effect_has_the_largest_restricted_likelihood() -> None:
    """Against the multivariate normal density of error contrasts, on datasets of unequal size."""
    rng = np.random.default_rng(11)
    sizes = (3, 8, 20, 5)
    names = [f"d{number}" for number, size in enumerate(sizes) for _ in range(size)]
    values = np.concatenate([rng.normal(0.05 + rng.normal(0, 0.06), 0.05, size) for size in sizes])
    same = np.array(names)[:, None] == np.array(names)[None]
    contrasts = np.eye(len(values))[:-1] - 1 / len(values)

    def likelihood(between: float, within: float) -> float:
        covariance = contrasts @ (between**2 * same + within**2 * np.eye(len(values))) @ contrasts.T
        return float(stats.multivariate_normal.logpdf(contrasts @ values, cov=covariance))

    found = mixed_effect(values.tolist(), names, list(range(len(values))))
    assert found.between_datasets_std is not None
    best = max((likelihood(b, w), b) for b in np.linspace(0, 0.2, 81) for w in np.linspace(0.03, 0.08, 26))
    assert found.between_datasets_std == pytest.approx(best[1], abs=0.004)


def test_mixed_effect_is_finite_whatever_the_data() -> None:
    rng = np.random.default_rng(12)
    for spread in (0.0, 1e-9, 0.05, 0.3):
        for _ in range(20):
            sizes = rng.integers(1, 12, int(rng.integers(3, 6)))
            names = [f"d{number}" for number, size in enumerate(sizes) for _ in range(size)]
            values = [0.05 + 0.01 * (int(name[1:]) % 2) + float(rng.normal(0, spread)) for name in names]
            found = mixed_effect(values, names, list(range(len(names))))
            assert found.ci95 is not None
            assert np.isfinite([found.difference, *found.ci95]).all()
            assert min(values) - 1e-12 <= float(found.difference or 0) <= max(values) + 1e-12


def test_the_order_of_the_rows_changes_nothing() -> None:
    """The same scores come in another order from another layout of the same data."""
    rng = np.random.default_rng(4)
    values, groups = rng.beta(4, 2, 60), np.repeat(np.arange(20), 3)
    differences = rng.normal(0.02, 0.1, 60)
    shuffled = rng.permutation(60)
    one = bootstrap_mean(values.tolist(), groups.tolist())
    other = bootstrap_mean(values[shuffled].tolist(), groups[shuffled].tolist())
    assert one.ci95 == pytest.approx(other.ci95, abs=1e-12)
    first = compare_paired([0.0] * 60, differences.tolist(), groups.tolist())
    second = compare_paired([0.0] * 60, differences[shuffled].tolist(), groups[shuffled].tolist())
    assert first.ci95 == pytest.approx(second.ci95, abs=1e-12)
    assert first.p == second.p
