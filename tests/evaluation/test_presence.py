"""Presence as a probability: as often true as it says, rising with the score, or not told."""

import json
from typing import cast

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from vlseg.evaluation.presence import FEWEST, PresenceCalibration, fit_presence


def drawn(
    rng: np.random.Generator, count: int, *, slope: float = 0.5, offset: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are too sure of themselves, as networks' are, and whether the thing is there."""
    raw = expit(rng.normal(1, 3, count))
    return raw, rng.random(count) < expit(slope * logit(raw) + offset)


def reliability(told: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of what is said from what is so, over ten groups of equal size (expected calibration error)."""
    order = np.array_split(np.argsort(told), 10)
    return float(np.mean([abs(told[group].mean() - truth[group].mean()) for group in order]))


def fitted(raw: np.ndarray, truth: np.ndarray) -> PresenceCalibration:
    found = fit_presence([float(one) for one in raw], [bool(one) for one in truth])
    assert isinstance(found, PresenceCalibration), found
    return found


@pytest.mark.parametrize("count", [60, 200, 1000])
def test_what_is_said_is_so(count: int) -> None:
    """On new samples, over many held-out sets of the size."""
    calibrated, plain = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        raw, truth = drawn(rng, count)
        if min(truth.sum(), (~truth).sum()) < FEWEST:
            continue
        found = fitted(raw, truth)
        new, there = drawn(rng, 20000)
        told = expit(found.slope * logit(np.clip(new, 1e-6, 1 - 1e-6)) + found.offset)
        assert told[0] == pytest.approx(found.score(new[0]))
        calibrated.append(reliability(told, there))
        plain.append(reliability(new, there))
    assert len(calibrated) > 20
    assert np.mean(plain) > 0.1
    assert np.mean(calibrated) < {60: 0.06, 200: 0.04, 1000: 0.025}[count]


def test_it_is_logistic_regression_for_many_samples() -> None:
    raw, truth = drawn(np.random.default_rng(0), 4000)
    found = fitted(raw, truth)
    theirs = LogisticRegression(C=np.inf).fit(logit(np.clip(raw, 1e-6, 1 - 1e-6))[:, None], truth)
    assert found.slope == pytest.approx(float(theirs.coef_[0, 0]), rel=0.02)
    assert found.offset == pytest.approx(float(theirs.intercept_[0]), abs=0.02)
    assert (found.n, found.present) == (4000, int(truth.sum()))


def test_it_rises_with_the_score_or_is_flat() -> None:
    raw, truth = drawn(np.random.default_rng(0), 200)
    scores = [fitted(raw, truth).score(one) for one in np.linspace(0, 1, 101)]
    assert (np.diff(scores) > 0).all()
    wrong = fitted(1 - raw, truth)  # the higher, the less likely
    assert wrong.slope == 0
    assert wrong.score(0.1) == wrong.score(0.9) == pytest.approx(truth.mean(), abs=0.02)


def test_scores_that_part_the_samples_are_not_certain() -> None:
    raw = np.array([0.0] * 20 + [1.0] * 20)
    found = fitted(raw, raw > 0.5)
    assert 0.9 < found.score(1.0) < 1
    assert 0 < found.score(0.0) < 0.1
    assert found.score(1.0) == pytest.approx(21 / 22, abs=0.01)


def test_too_few_of_either_are_said() -> None:
    told = cast(str, fit_presence([0.5] * 100, [True] * 91 + [False] * 9))
    assert "91 samples with and 9 without" in told
    assert isinstance(fit_presence([0.5] * 100, [True] * 90 + [False] * 10), PresenceCalibration)


def test_scores_that_are_no_numbers_are_left_out() -> None:
    raw, truth = drawn(np.random.default_rng(0), 200)
    assert fitted(np.r_[raw, np.nan], np.r_[truth, True]) == fitted(raw, truth)


def test_written_and_read_it_is_the_same() -> None:
    found = fitted(*drawn(np.random.default_rng(0), 200))
    assert PresenceCalibration.from_json(json.loads(json.dumps(found.to_json()))) == found
