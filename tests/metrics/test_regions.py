"""Precision, recall, lesions, calibration and risk-coverage against independent oracles."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_score, recall_score

from vlseg.metrics import Calibration, band, brier_score, count_lesions, precision_recall, risk_coverage
from vlseg.metrics.regions import BINS


def random_pair(rng: np.random.Generator, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    fields = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 2) for _ in range(2)]
    return tuple(field > rng.uniform(-0.05, 0.1) for field in fields)  # type: ignore[return-value]


def test_precision_and_recall_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        pred, target = random_pair(rng)
        precision, recall = precision_recall(pred, target)
        if pred.any():
            assert precision == pytest.approx(precision_score(target.ravel(), pred.ravel()))
        if target.any():
            assert recall == pytest.approx(recall_score(target.ravel(), pred.ravel()))
    empty = np.zeros((4, 4), bool)
    assert precision_recall(empty, ~empty) == (None, 0.0)
    assert precision_recall(~empty, empty) == (0.0, None)


def test_lesions_equal_a_loop_over_regions() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        pred, target = random_pair(rng)
        eight = np.ones((3, 3))
        true, n_true = ndimage.label(target, eight)
        predicted, n_pred = ndimage.label(pred, eight)
        found = sum((pred & (true == k)).sum() >= 0.1 * (true == k).sum() for k in range(1, n_true + 1))
        false = sum(not (target & (predicted == k)).any() for k in range(1, n_pred + 1))
        counted = count_lesions(pred, target)
        assert (counted.true, counted.found, counted.false) == (n_true, found, false)


def test_band_is_a_dilation_by_five_percent_of_the_diagonal() -> None:
    mask = np.zeros((60, 80), bool)
    mask[30, 40] = True
    near = band(mask, np.zeros_like(mask))
    rows, columns = np.nonzero(near)
    assert np.hypot(rows - 30, columns - 40).max() <= 5.0
    assert near[30, 45]
    assert not near[30, 46]
    assert not band(np.zeros_like(mask), np.zeros_like(mask)).any()


def test_band_equals_distances_over_the_whole_image() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        shape = tuple(rng.integers(5, 90, 2))
        pred, target = (rng.random(shape) < rng.choice([0.0, 0.001, 0.02]) for _ in range(2))
        union = pred | target
        far = ndimage.distance_transform_edt(~union) if union.any() else np.full(shape, np.inf)
        np.testing.assert_array_equal(band(pred, target), far <= 0.05 * np.hypot(*shape))


def test_brier_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    probability, target = rng.random((20, 20)), rng.random((20, 20)) > 0.6
    where = rng.random((20, 20)) > 0.3
    expected = brier_score_loss(target[where], probability[where])
    assert brier_score(probability, target, where) == pytest.approx(expected)
    assert brier_score(probability, target, np.zeros_like(where)) is None


def test_calibration_pools_images_and_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    pooled = Calibration()
    values, truths = [], []
    for _ in range(5):
        probability = rng.random((30, 30))
        target = rng.random((30, 30)) < probability**1.5
        pooled.add(probability, target, np.ones((30, 30), bool))
        values.append(probability.ravel())
        truths.append(target.ravel())
    y, p = np.concatenate(truths), np.concatenate(values)
    frequency, mean = calibration_curve(y, p, n_bins=BINS, strategy="uniform")
    curve = pooled.curve()
    np.testing.assert_allclose([point[0] for point in curve], mean)
    np.testing.assert_allclose([point[1] for point in curve], frequency)
    weights = np.histogram(p, BINS, (0, 1))[0] / len(p)
    assert pooled.expected_error() == pytest.approx(float((weights * np.abs(frequency - mean)).sum()))
    assert Calibration().expected_error() is None


def test_a_calibrated_model_has_no_error() -> None:
    rng = np.random.default_rng(4)
    pooled = Calibration()
    probability = rng.random((700, 700))
    pooled.add(probability, rng.random((700, 700)) < probability, np.ones((700, 700), bool))
    error = pooled.expected_error()
    assert error is not None
    assert error < 0.01


def test_risk_coverage_of_good_bad_and_no_uncertainty() -> None:
    rng = np.random.default_rng(5)
    scores = rng.beta(5, 2, 400)
    perfect = risk_coverage(scores, 1 - scores)
    assert perfect is not None
    assert perfect.area == pytest.approx(perfect.ideal)
    flat = risk_coverage(scores, np.zeros(400))
    assert flat is not None
    assert flat.area == pytest.approx(flat.random)
    wrong = risk_coverage(scores, scores)
    assert wrong is not None
    assert wrong.area > wrong.random > perfect.area
    half = risk_coverage(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.1, 0.9]))
    assert half is not None
    assert half.risk == pytest.approx((0, 0, 1 / 3, 0.5))
    assert risk_coverage(np.zeros(0), np.zeros(0)) is None
