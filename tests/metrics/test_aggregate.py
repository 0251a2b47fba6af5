"""Aggregates by hand and intervals against scipy."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from vlseg.metrics import INDEPENDENT_NOTE, aggregate, bootstrap_mean
from vlseg.records import SampleScore


def score(index: int, dice: float | None, **changes: Any) -> SampleScore:
    values: dict[str, Any] = {
        "dataset": "d", "split": "test", "sample_id": f"s{index}", "image_id": f"i{index}", "group": None,
        "site": None, "target": "polyp", "named_target": "polyp", "prompt": "class", "wording": "polyp",
        "prompt_sources": "class", "deployable": True, "condition": "clean", "condition_arguments": "{}",
        "model": "m", "run_id": "r", "seed": 0, "protocol": "corrected", "threshold": 0.5, "precision": "fp32",
        "dice": dice, "iou": dice, "hd95": 2.0, "hd": 3.0, "nsd": dice, "nsd_tolerance": 2.0, "assd": 1.0,
        "distance_unit": "px", "spacing": None, "image_diagonal": 50.0, "presence_score": 0.5, "area": 3,
        "area_error": 0, "empty_target": False, "empty_pred": False,
    }  # fmt: skip
    return SampleScore(**(values | changes))


def test_empty_rule_and_distances() -> None:
    rows = [
        score(0, 0.8, hd95=4.0),
        score(1, 0.0, hd95=None, empty_pred=True),  # missed
        score(2, 1.0, hd95=None, empty_target=True, empty_pred=True),  # rightly empty
        score(3, 0.0, hd95=None, empty_target=True),  # invented
        score(4, None, iou=None, nsd=None, empty_target=None),  # no truth
    ]
    result = aggregate(rows, groups_known=False)
    assert (result.n, result.n_without_truth, result.n_empty_truths) == (4, 1, 2)
    assert result.dice.mean == pytest.approx(0.45)
    assert (result.dice_present.mean, result.dice_present.n) == (pytest.approx(0.4), 2)
    assert (result.hd95.mean, result.hd95.n) == (4.0, 1)
    assert result.hd95_penalised.mean == pytest.approx((4 + 50 + 0 + 50) / 4)
    assert (result.presence.sensitivity, result.presence.specificity, result.absent_empty) == (0.5, 0.5, 0.5)
    assert result.dice.ci95 is None
    assert "4 groups, fewer than 10" in str(result.dice.reason)
    json.dumps(result.to_json())


def test_wordings_are_averaged_before_samples() -> None:
    rows = [score(0, 1.0), score(0, 0.0, wording="a polyp"), score(1, 1.0)]
    result = aggregate(rows, groups_known=False)
    assert result.n == 2
    assert result.dice.mean == pytest.approx(0.75)


def test_macro_mean_over_targets() -> None:
    rows = [score(i, 1.0) for i in range(3)] + [score(9, 0.0, target="vessel")]
    result = aggregate(rows, groups_known=False)
    assert (result.dice.mean, result.dice_macro) == (0.75, 0.5)


def test_presence_auroc_equals_sklearn() -> None:
    rng = np.random.default_rng(0)
    rows = [
        score(i, 0.5, empty_target=bool(rng.random() < 0.4), presence_score=float(rng.integers(0, 8)) / 8)
        for i in range(60)
    ]
    expected = roc_auc_score([not row.empty_target for row in rows], [row.presence_score for row in rows])
    assert aggregate(rows, groups_known=False).presence.auroc == pytest.approx(expected)
    present = [row for row in rows if not row.empty_target]
    presence = aggregate(present, groups_known=False).presence
    assert (presence.auroc, presence.reason) == (None, "no absent targets")


def test_interval_of_single_groups_equals_scipy() -> None:
    values = np.random.default_rng(1).beta(5, 1, 80)
    ours = bootstrap_mean(list(values), [str(i) for i in range(80)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=2).confidence_interval
    assert ours.ci95 is not None
    assert ours.ci95[0] == pytest.approx(theirs.low, abs=0.004)
    assert ours.ci95[1] == pytest.approx(theirs.high, abs=0.004)
    assert (ours.mean, ours.std) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    patients = rng.normal(0.7, 0.1, 20)
    values = list(np.repeat(patients, 10))
    names = [str(i) for i in range(20) for _ in range(10)]
    grouped = bootstrap_mean(values, names).ci95
    alone = bootstrap_mean(values, [str(i) for i in range(200)]).ci95
    assert grouped is not None
    assert alone is not None
    assert (grouped[1] - grouped[0]) > 2.5 * (alone[1] - alone[0])
    expected = 2 * stats.t.ppf(0.975, 19) * patients.std(ddof=1) / np.sqrt(20)
    assert grouped[1] - grouped[0] == pytest.approx(expected, rel=0.1)


def test_known_groups_are_used() -> None:
    rows = [score(i, 0.1 * (i % 7), group=f"patient{i % 4}") for i in range(40)]
    assert aggregate(rows, groups_known=True).n_groups == 4
    assert aggregate(rows, groups_known=True).dice.ci95 is None
    assert aggregate(rows, groups_known=False).dice.ci95 is not None


def test_pooling_with_a_set_without_patients_keeps_the_others_patients() -> None:
    """Rows of 20 patients and of 40 images of nobody knows whom: the interval is that of 60 independent units."""
    rng = np.random.default_rng(7)
    patients = np.repeat(rng.normal(0.7, 0.1, 20), 6).tolist()
    images = rng.normal(0.7, 0.1, 40).tolist()
    rows = [score(i, value, group=f"p{i // 6}") for i, value in enumerate(patients)]
    rows += [score(i, value, dataset="e") for i, value in enumerate(images)]
    pooled = aggregate(rows, groups_known=True)
    assert pooled.n_groups == 60
    names = [f"p{i // 6}" for i in range(120)] + [f"i{i}" for i in range(40)]
    assert pooled.dice.ci95 == pytest.approx(bootstrap_mean(patients + images, names).ci95)
    alone = bootstrap_mean(patients + images, list(range(160))).ci95
    assert pooled.dice.ci95 is not None
    assert alone is not None
    assert pooled.dice.ci95[1] - pooled.dice.ci95[0] > 1.5 * (alone[1] - alone[0])
    assert pooled.note == (
        "Patients or sequences are not known for 40 of 160 images (e): these are treated as independent."
    )
    assert aggregate(rows[:120], groups_known=True).note is None
    assert aggregate(rows[120:], groups_known=True).note == INDEPENDENT_NOTE


def test_neither_distances_nor_shares_within_them_have_a_mean_over_px_and_mm() -> None:
    rows = [score(i, 0.5) for i in range(12)] + [score(i, 0.7, dataset="e", distance_unit="mm") for i in range(12)]
    found = aggregate(rows, groups_known=False)
    for estimate in (found.hd95, found.hd95_penalised, found.hd, found.assd, found.nsd):
        assert (estimate.mean, estimate.ci95) == (None, None)
        assert estimate.reason == "distances in mm and px have no common mean"
    assert found.dice.mean == pytest.approx(0.6)
    held = [score(i, 0.5, nsd_tolerance=1.0 + i % 2) for i in range(12)]
    assert aggregate(held, groups_known=False).nsd.reason == "tolerances of 1 and 2 have no common mean"
    assert aggregate(held, groups_known=False).hd95.mean == 2.0


def test_sensitivity_and_specificity_are_of_the_masks() -> None:
    """Whatever the presence score says."""
    rows = [score(i, 0.5, empty_target=i % 2 == 0, empty_pred=i < 6, presence_score=0.0) for i in range(12)]
    presence = aggregate(rows, groups_known=False).presence
    assert (presence.sensitivity, presence.specificity, presence.auroc) == (0.5, 0.5, 0.5)


def test_degenerate_cases_say_why() -> None:
    assert bootstrap_mean([0.5] * 30, [str(i) for i in range(30)]).reason == "all values are equal"
    assert bootstrap_mean([], []).mean is None
    names = [str(i) for i in range(60)]
    one = bootstrap_mean([-0.3] + [0.0] * 59, names)
    assert (one.mean, one.ci95) == (pytest.approx(-0.005), None)
    assert one.reason == "1 of 60 groups differ from the others, too few to resample"
    assert bootstrap_mean([0.1, 0.2, 0.3] + [1.0] * 57, names).ci95 is None
    assert bootstrap_mean([0.1, 0.2, 0.3, 0.3] + [1.0] * 56, names).ci95 is not None
    assert bootstrap_mean([0.0] * 30 + [1.0] * 30, names).ci95 is not None
    assert aggregate([], groups_known=True).dice.reason == "no value is defined"


def test_further_scores_by_hand() -> None:
    rows = [
        score(0, 0.8, hd=5.0, assd=2.0, area_error=10, lesions=3, lesions_found=1, false_lesions=2, pixel_recall=0.5),
        score(0, 0.6, wording="a polyp", area_error=-4, lesions=3, lesions_found=2, false_lesions=0, pixel_recall=0.7),
        score(1, 0.5, image_id="i0", area_error=-8, lesions=1, lesions_found=1, false_lesions=1, pixel_recall=None),
        score(2, 0.0, hd=None, assd=None, area_error=0, lesions=0, lesions_found=0, false_lesions=0, brier=0.2),
    ]
    found = aggregate(rows, groups_known=False)
    assert found.area_error.mean == pytest.approx((3 - 8 + 0) / 3)
    assert found.area_error_size.mean == pytest.approx((7 + 8 + 0) / 3)
    assert (found.lesion_sensitivity.mean, found.lesion_sensitivity.n) == (pytest.approx((1.5 + 1) / 4), 4)
    assert (found.false_lesions.mean, found.false_lesions.n) == (pytest.approx(2.0 / 2), 2)  # two images
    assert (found.pixel_recall.mean, found.pixel_recall.n) == (pytest.approx(0.6), 1)
    assert (found.hd.mean, found.hd.n) == (pytest.approx((4.0 + 3.0) / 2), 2)
    assert (found.brier.mean, found.brier.n) == (0.2, 1)
    assert found.pixel_precision.reason == "no value is defined"


def test_the_part_of_a_pool_that_knows_no_patients_says_so() -> None:
    """Its images are independent ones, in the note and in the column."""
    known = [score(index, 0.5, group=f"p{index // 2}") for index in range(4)]
    unknown = [score(index, 0.5, dataset="e") for index in range(4)]
    whole = aggregate([*known, *unknown], groups_known=True)
    assert (whole.groups_known, whole.n_groups) == (True, 6)
    part = aggregate(unknown, groups_known=True)
    assert (part.groups_known, part.n_groups, part.note) == (False, 4, INDEPENDENT_NOTE)
