"""Pixel precision and recall, lesion-wise counts, and calibration near the object."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from vlseg.metrics.overlap import Mask, check_masks

FOUND_SHARE = 0.1
"""A lesion counts as found when at least this share of its pixels is predicted."""
BAND_SHARE = 0.05
"""Width of the band around truth and prediction in which calibration is measured, share of the image diagonal."""
BINS = 15
"""Bins of equal width over [0, 1] for the calibration error."""


def precision_recall(pred: Mask, target: Mask) -> tuple[float | None, float | None]:
    """Share of the predicted pixels that are true, and of the true ones that are predicted; None where there are none.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.

    Raises:
        InputError: see `check_masks`.
    """
    check_masks(pred, target)
    both = int(np.count_nonzero(pred & target))
    predicted, true = int(np.count_nonzero(pred)), int(np.count_nonzero(target))
    return (both / predicted if predicted else None), (both / true if true else None)


@dataclass(frozen=True)
class Lesions:
    """Connected regions (8-neighbourhood): true ones, those found, and predicted ones that touch no true pixel."""

    true: int
    found: int
    false: int


def count_lesions(pred: Mask, target: Mask) -> Lesions:
    """Lesion-wise counts of one image.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.

    Raises:
        InputError: see `check_masks`.
    """
    check_masks(pred, target)
    eight = np.ones((3, 3))
    true, n_true = scipy.ndimage.label(target, structure=eight)
    predicted, n_pred = scipy.ndimage.label(pred, structure=eight)
    sizes = np.bincount(true.ravel(), minlength=n_true + 1)[1:]
    covered = np.bincount(true[pred].ravel(), minlength=n_true + 1)[1:]
    touched = np.bincount(predicted[target].ravel(), minlength=n_pred + 1)[1:]
    return Lesions(n_true, int(np.count_nonzero(covered >= FOUND_SHARE * sizes)), int(np.count_nonzero(touched == 0)))


def band(pred: Mask, target: Mask) -> Mask:
    """The pixels of truth and prediction and all within 5 % of the image's diagonal of them, (H, W) bool.

    Far background is easy; over whole images it would hide every miscalibration. Empty for two empty masks.
    """
    union = pred | target
    if not union.any():
        return union
    reach = BAND_SHARE * float(np.hypot(*union.shape))
    window = _around(union, int(np.ceil(reach)))  # nothing beyond it is in reach
    near = np.zeros_like(union)
    near[window] = scipy.ndimage.distance_transform_edt(~union[window]) <= reach
    return near


def _around(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty, with a margin, cut at the image's border."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = ((int(places[0]), int(places[-1]) + 1) for places in (rows, columns))
    return slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)


@dataclass
class Calibration:
    """Sums over pixels by bin of probability, to be pooled over images.

    `count`, `probability` and `true` are (BINS,): pixels, sum of their probabilities, foreground among them.
    """

    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    probability: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    true: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def add(self, probability: NDArray[np.floating], target: Mask, where: Mask) -> None:
        """The pixels of one image: probability (H, W) in [0, 1], truth and region (H, W) bool."""
        values, truth = probability[where].astype(np.float64), target[where]
        bins = np.minimum((values * BINS).astype(int), BINS - 1)
        self.count += np.bincount(bins, minlength=BINS)
        self.probability += np.bincount(bins, weights=values, minlength=BINS)
        self.true += np.bincount(bins, weights=truth, minlength=BINS).astype(np.int64)

    def join(self, other: "Calibration") -> None:
        """Take in the sums of other pixels."""
        self.count += other.count
        self.probability += other.probability
        self.true += other.true

    def expected_error(self) -> float | None:
        """Expected calibration error: mean absolute gap between probability and frequency, weighted by pixels."""
        total = int(self.count.sum())
        return float(np.abs(self.probability - self.true).sum() / total) if total else None

    def to_json(self) -> dict[str, Any]:
        """Plain values: the error, the number of bins and pixels, and the curve."""
        return {
            "expected_calibration_error": self.expected_error(),
            "bins": BINS,
            "pixels": int(self.count.sum()),
            "band_share_of_diagonal": BAND_SHARE,
            "curve": [list(point) for point in self.curve()],
        }

    def curve(self) -> list[tuple[float, float, int]]:
        """(mean probability, frequency of foreground, pixels) of each bin that has pixels: the reliability curve."""
        return [
            (float(p / n), float(t / n), int(n))
            for p, t, n in zip(self.probability, self.true, self.count, strict=True)
            if n
        ]


def brier_score(probability: NDArray[np.floating], target: Mask, where: Mask) -> float | None:
    """Mean squared difference of probability (H, W) and truth over the region; None for an empty region."""
    if not where.any():
        return None
    return float(np.mean((probability[where].astype(np.float64) - target[where]) ** 2))


@dataclass(frozen=True)
class RiskCoverage:
    """Mean risk (1 - Dice) of the cases kept when the most uncertain are handed back.

    `coverage` and `risk` are parallel; `area` is the area under the curve, `ideal` that of a perfect order,
    `random` that of none.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    ideal: float
    random: float


def risk_coverage(scores: NDArray[np.floating], uncertainty: NDArray[np.floating]) -> RiskCoverage | None:
    """The risk-coverage curve of per-case scores (n,) in [0, 1] under uncertainties (n,); None without cases.

    Equally uncertain cases are kept or handed back together: their risk is averaged.
    """
    if len(scores) == 0:
        return None
    risk = 1 - np.asarray(scores, dtype=np.float64)
    index = np.unique(np.asarray(uncertainty, dtype=np.float64), return_inverse=True)[1]
    tied = np.bincount(index, weights=risk) / np.bincount(index)
    smoothed = np.sort(index)  # cases in order of uncertainty, each with the mean risk of its ties
    curve = np.cumsum(tied[smoothed]) / np.arange(1, len(risk) + 1)
    ideal = np.cumsum(np.sort(risk)) / np.arange(1, len(risk) + 1)
    coverage = np.arange(1, len(risk) + 1) / len(risk)
    return RiskCoverage(
        tuple(coverage.tolist()),
        tuple(curve.tolist()),
        float(curve.mean()),
        float(ideal.mean()),
        float(risk.mean()),
    )
