"""In-domain against cross-dataset."""

import numpy as np
import pytest
from scipy import stats

from vlseg.metrics import crossing


def test_two_datasets_of_single_samples_equal_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.9, 0.05, 30), rng.normal(0.7, 0.2, 17)
    found = crossing(
        {"a": one.tolist(), "b": two.tolist()}, {"a": list(range(30)), "b": list(range(17))}, trained_on=["a"]
    )
    oracle = stats.ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    assert found.drop == pytest.approx(one.mean() - two.mean())
    assert found.drop_ci95 == pytest.approx((oracle.low, oracle.high))
    assert found.harmonic_mean == pytest.approx(stats.hmean([one.mean(), two.mean()]))


def test_interval_of_the_harmonic_mean_has_the_spread_of_simulated_ones() -> None:
    rng = np.random.default_rng(1)
    means, reaches = [], []
    for _ in range(400):
        a, b, c = rng.normal(0.9, 0.1, 40), rng.normal(0.6, 0.2, 40), rng.normal(0.5, 0.2, 40)
        groups = {name: list(range(40)) for name in "abc"}
        found = crossing({"a": a.tolist(), "b": b.tolist(), "c": c.tolist()}, groups, trained_on=["a"])
        assert found.harmonic_ci95 is not None
        means.append(found.harmonic_mean)
        reaches.append((found.harmonic_ci95[1] - found.harmonic_ci95[0]) / 2)
    assert np.mean(reaches) == pytest.approx(2.0 * np.std(means), rel=0.1)


def test_reasons() -> None:
    groups = {"a": list(range(12)), "b": list(range(9))}
    values = {"a": np.linspace(0, 1, 12).tolist(), "b": np.linspace(0, 1, 9).tolist()}
    found = crossing(values, groups, trained_on=["a"])
    assert found.drop == pytest.approx(0.0)
    assert found.drop_ci95 is None
    assert found.reason is not None
    assert "b" in found.reason
    only = crossing({"a": values["a"]}, groups, trained_on=["a"])
    assert (only.cross_dataset, only.reason) == (None, "not scored on other data")
    flat = crossing({"a": [0.5] * 12, "c": [0.5] * 12}, {"a": groups["a"], "c": groups["a"]}, trained_on=["a"])
    assert flat.drop_ci95 is None
    assert flat.reason == "the groups of every dataset are alike"
