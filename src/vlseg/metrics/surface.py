"""Distances between the borders of two masks.

The surface is the mask's edge pixels: foreground with a background neighbour (4-neighbourhood), the image
border counted as background. Distances are Euclidean between pixel centres, per direction. This is the
convention of MONAI and of scipy-based code; libraries that measure on contours between pixels differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlseg.metrics.overlap import Mask, dice_score, iou_score

Spacing = tuple[float, float]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each edge pixel of one mask to the other's nearest edge pixel.

    Attributes:
        pred_to_target: (edge pixels of the prediction,), in the unit of the spacing.
        target_to_pred: (edge pixels of the target,).
    """

    pred_to_target: NDArray[np.float64]
    target_to_pred: NDArray[np.float64]

    def percentile(self, q: float) -> float:
        """Hausdorff distance at percentile q: linear per direction, the larger of the two."""
        return float(max(np.percentile(self.pred_to_target, q), np.percentile(self.target_to_pred, q)))

    def within(self, tolerance: float) -> float:
        """Share of all edge pixels not farther than the tolerance: normalised surface Dice."""
        near = np.count_nonzero(self.pred_to_target <= tolerance) + np.count_nonzero(self.target_to_pred <= tolerance)
        return float(near / (len(self.pred_to_target) + len(self.target_to_pred)))

    def mean(self) -> float:
        """Average symmetric surface distance: the mean over all edge pixels of both masks."""
        return float(np.concatenate([self.pred_to_target, self.target_to_pred]).mean())


def surface_distances(pred: Mask, target: Mask, spacing: Spacing | None = None) -> SurfaceDistances | None:
    """Distances between the edges of two masks, or None where one of them is empty.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
        spacing: (y, x) size of a pixel; None = pixels.
    """
    if not pred.any() or not target.any():
        return None
    rows, columns = np.nonzero(pred | target)
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Outside the joint bounding box there is background only, as outside the image.
    edges = [_edge(np.pad(mask[window], 1)) for mask in (pred, target)]
    step = spacing or (1.0, 1.0)
    to_pred, to_target = (ndimage.distance_transform_edt(~edge, sampling=step) for edge in edges)
    return SurfaceDistances(to_target[edges[0]], to_pred[edges[1]])


def hausdorff_distance(pred: Mask, target: Mask, spacing: Spacing | None = None) -> float | None:
    """The largest surface distance; None where a mask is empty. See `surface_distances`."""
    distances = surface_distances(pred, target, spacing)
    return None if distances is None else distances.percentile(100)


def hausdorff_distance_95(pred: Mask, target: Mask, spacing: Spacing | None = None) -> float | None:
    """The 95th percentile of surface distances; None where a mask is empty. See `surface_distances`."""
    distances = surface_distances(pred, target, spacing)
    return None if distances is None else distances.percentile(95)


def normalized_surface_dice(pred: Mask, target: Mask, tolerance: float = 2.0, spacing: Spacing | None = None) -> float:
    """Share of the two surfaces within `tolerance` (in the spacing's unit) of each other, in [0, 1].

    Both empty counts as 1, one empty as 0.
    """
    distances = surface_distances(pred, target, spacing)
    return float(not pred.any() and not target.any()) if distances is None else distances.within(tolerance)


def average_symmetric_surface_distance(pred: Mask, target: Mask, spacing: Spacing | None = None) -> float | None:
    """Mean surface distance of both directions together; None where a mask is empty."""
    distances = surface_distances(pred, target, spacing)
    return None if distances is None else distances.mean()


@dataclass(frozen=True)
class PairScores:
    """All scores of one prediction. Distances are None where a mask is empty."""

    dice: float | None
    iou: float | None
    hd95: float | None
    hd: float | None
    nsd: float | None
    assd: float | None


def score_pair(pred: Mask, target: Mask, *, spacing: Spacing | None = None, nsd_tolerance: float = 2.0) -> PairScores:
    """Every metric of one pair, with the distances computed once.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
        spacing: (y, x) in mm; None = pixels.
        nsd_tolerance: in mm, or pixels without spacing.

    Raises:
        ValueError: masks of different shapes.
    """
    if pred.shape != target.shape:
        raise ValueError(f"masks of shapes {pred.shape} and {target.shape} cannot be compared")
    distances = surface_distances(pred, target, spacing)
    if distances is None:
        both_empty = float(not pred.any() and not target.any())
        return PairScores(dice_score(pred, target), iou_score(pred, target), None, None, both_empty, None)
    return PairScores(
        dice_score(pred, target),
        iou_score(pred, target),
        distances.percentile(95),
        distances.percentile(100),
        distances.within(nsd_tolerance),
        distances.mean(),
    )


def _edge(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)
