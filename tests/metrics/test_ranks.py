"""Average ranks and critical differences against Demsar's paper, scipy, and chance."""

import itertools

import numpy as np
import pytest
from scipy import stats

from vlseg.metrics import Ranks, compare_ranks
from vlseg.metrics.ranks import friedman, nemenyi_quantile

METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
TABLE_6 = {
    "adult (sample)": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.9751, 0.975),  # printed as 0.975 twice, ranked 2 and 3
    "wine": (0.957, 0.978, 0.946, 0.970),
}
"""J. Demsar, JMLR 7 (2006), table 6."""


def published(alpha: float) -> Ranks:
    return compare_ranks(
        {one: {name: row[i] for name, row in TABLE_6.items()} for i, one in enumerate(METHODS)}, alpha=alpha
    )


def test_the_papers_worked_example() -> None:
    found = published(0.05)
    assert dict(zip(found.methods, found.ranks, strict=True)) == pytest.approx(
        {"C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143}, abs=5e-4
    )
    assert found.methods[0] == "C4.5+m+cf"
    assert found.n_datasets == 14
    assert found.chi2 == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    assert found.p is not None
    assert found.p < 0.05  # "the critical value of F(3, 39) is 2.85, so we reject"
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    # "not powerful enough to detect any significant differences"
    assert found.alike == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


def test_its_two_groups_at_one_in_ten() -> None:
    found = published(0.10)
    assert found.critical_difference == pytest.approx(1.12, abs=5e-3)
    # "pure C4.5 is significantly worse than C4.5+m and C4.5+m+cf"; of C4.5+cf nothing can be said
    assert found.alike == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


@pytest.mark.parametrize(
    ("alpha", "row"),
    [
        (0.05, (2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)),
        (0.10, (2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)),
    ],
)
def test_quantiles_are_those_of_table_5(alpha: float, row: tuple[float, ...]) -> None:
    assert [nemenyi_quantile(size, alpha) for size in range(3, 11)] == pytest.approx(row, abs=1.1e-3)


def test_friedman_is_scipys_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    for size, number in ((3, 5), (6, 11)):
        values = rng.random((size, number)) + 0.2 * np.arange(size)[:, None]
        chi2, f, p = friedman(stats.rankdata(-values, axis=0))
        assert chi2 == pytest.approx(stats.friedmanchisquare(*values).statistic)
        assert f == pytest.approx((number - 1) * chi2 / (number * (size - 1) - chi2))
        assert p == pytest.approx(stats.f.sf(f, size - 1, (size - 1) * (number - 1)))


def test_ties_make_the_test_more_cautious() -> None:
    values = np.array([[1.0, 1, 2, 3, 1], [1, 2, 2, 4, 2], [1, 2, 3, 4, 5]])
    assert friedman(stats.rankdata(-values, axis=0))[0] < stats.friedmanchisquare(*values).statistic
    assert friedman(np.full((4, 6), 2.5)) == (0.0, 0.0, 1.0)
    assert friedman(np.tile([[1.0], [2.0], [3.0]], 5))[1:] == (float("inf"), 0.0)


def scores(values: np.ndarray) -> dict[str, dict[str, float | None]]:
    return {f"m{i}": {f"d{j}": float(one) for j, one in enumerate(row)} for i, row in enumerate(values)}


@pytest.mark.parametrize(("size", "number"), [(3, 5), (4, 5), (6, 10), (10, 6)])
def test_of_methods_that_are_alike_few_are_told_apart(size: int, number: int) -> None:
    """The family-wise error over 1,500 made-up studies stays below 0.05, but for what chance allows (three errors)."""
    rng = np.random.default_rng(20240801)
    found = [compare_ranks(scores(one)) for one in rng.random((1500, size, number))]
    wrong = sum(one.alike != (one.methods,) for one in found)
    assert wrong / 1500 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
    assert wrong > 0


def test_of_methods_that_differ_the_outer_ones_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = [compare_ranks(scores(rng.normal(np.arange(5)[:, None] * 0.8, 0.5, (5, 10)))) for _ in range(100)]
    apart = sum(not any({"m0", "m4"} <= set(joined) for joined in one.alike) for one in found)
    assert apart >= 95
    assert sum(one.methods == ("m4", "m3", "m2", "m1", "m0") for one in found) >= 90


def test_pairs_within_a_bar_are_nearer_than_the_critical_difference() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        size, number = int(rng.integers(3, 9)), int(rng.integers(5, 20))
        found = compare_ranks(scores(rng.random((size, number)) + 0.15 * np.arange(size)[:, None]))
        assert found.p is not None
        assert found.critical_difference is not None
        if found.p >= 0.05:
            continue
        rank = dict(zip(found.methods, found.ranks, strict=True))
        for first, second in itertools.combinations(found.methods, 2):
            joined = any({first, second} <= set(one) for one in found.alike)
            assert joined == (abs(rank[first] - rank[second]) < found.critical_difference)
        assert len(set(found.alike)) == len(found.alike)
        assert not any(set(a) <= set(b) for a, b in itertools.permutations(found.alike, 2))


def test_the_order_of_datasets_and_rounding_change_nothing() -> None:
    rng = np.random.default_rng(3)
    values = rng.random((4, 7))
    plain = compare_ranks(scores(values))
    turned = {method: dict(reversed(one.items())) for method, one in scores(values).items()}
    assert compare_ranks(turned) == plain
    values[1] = values[0] + 1e-13
    tied = compare_ranks(scores(values))
    assert tied.ranks[tied.methods.index("m0")] == tied.ranks[tied.methods.index("m1")]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "0 methods, fewer than 3"),
        ({"a": {}, "b": {}}, "2 methods, fewer than 3"),
        ({m: {str(i): 0.5 for i in range(4)} for m in "abc"}, "4 datasets, fewer than 5"),
        ({m: {str(i): 0.5 for i in range(5 if m != "b" else 4)} for m in "abc"}, "b was not scored on 4"),
        (
            {m: {str(i): (None if m + str(i) == "c2" else 0.5) for i in range(5)} for m in "abc"},
            "c was not scored on 2",
        ),
        ({m: {str(i): (float("nan") if m == "a" else 0.5) for i in range(5)} for m in "abc"}, "a was not scored on 0"),
    ],
)
def test_where_it_makes_no_sense_the_reason_is_given(given: dict[str, dict[str, float | None]], reason: str) -> None:
    found = compare_ranks(given)
    assert found.reason == reason
    assert found.methods == found.ranks == found.alike == ()


def test_all_alike_everywhere() -> None:
    found = compare_ranks({m: {str(i): 1.0 for i in range(6)} for m in "abc"})
    assert found.p == 1.0
    assert found.ranks == (2.0, 2.0, 2.0)
    assert found.alike == (("a", "b", "c"),)
