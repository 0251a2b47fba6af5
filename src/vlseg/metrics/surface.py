"""Distances between the borders of two masks, in one of two conventions.

`edge` (default): the surface is the mask's edge pixels, foreground with a background neighbour
(4-neighbourhood), the image border counted as background. Distances are Euclidean between pixel centres;
every edge pixel weighs the same and percentiles are interpolated linearly. MONAI and scipy-based code agree.

`contour`: the surface is made of line elements between pixels, one per 2x2 neighbourhood that is neither
empty nor full. Every element weighs its length and percentiles are not interpolated. This is the convention
of DeepMind's surface-distance library (Nikolov et al. 2018, "Deep learning to achieve clinically applicable
segmentation of head and neck anatomy for radiotherapy", arXiv:1809.04430), and equals it.
"""

from dataclasses import dataclass
from math import hypot, isfinite
from typing import Literal, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from vlseg.metrics.overlap import Mask, check_masks, dice_score, iou_score
from vlseg.records import InputError, unknown_name

Spacing = tuple[float, float]
Surface = Literal["edge", "contour"]
Floats = NDArray[np.float64]

TREE_BELOW = 8
"""A search tree over the surfaces' elements beats distance maps while these are fewer than one pixel in so many."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each surface element of one mask to the other's nearest surface element.

    Attributes:
        pred_to_target: (elements of the prediction,), in the unit of the spacing.
        target_to_pred: (elements of the target,).
        pred_lengths: (elements of the prediction,) weights in the same unit; None = edge pixels, all alike.
        target_lengths: (elements of the target,) likewise.
    """

    pred_to_target: Floats
    target_to_pred: Floats
    pred_lengths: Floats | None = None
    target_lengths: Floats | None = None

    def percentile(self, q: float) -> float:
        """Hausdorff distance at percentile q in [0, 100]: per direction, the larger of the two."""
        return max(
            _percentile(self.pred_to_target, self.pred_lengths, q),
            _percentile(self.target_to_pred, self.target_lengths, q),
        )

    def within(self, tolerance: float) -> float:
        """Share of the whole surface not farther than the tolerance: normalised surface Dice, in [0, 1]."""
        distances, weights = self._both()
        return float(weights[distances <= tolerance].sum() / weights.sum())

    def mean(self) -> float:
        """Average symmetric surface distance: the mean over both surfaces together."""
        distances, weights = self._both()
        return float((distances * weights).sum() / weights.sum())

    def _both(self) -> tuple[Floats, Floats]:
        distances = np.concatenate([self.pred_to_target, self.target_to_pred])
        if self.pred_lengths is None or self.target_lengths is None:
            return distances, np.ones_like(distances)
        return distances, np.concatenate([self.pred_lengths, self.target_lengths])


def surface_distances(
    pred: Mask, target: Mask, spacing: Spacing | None = None, *, surface: Surface = "edge"
) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks, or None where one of them is empty.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
        spacing: (y, x) size of a pixel; None = pixels.
        surface: see the module's text.

    Raises:
        InputError: masks that are not bool (H, W) of one shape, a spacing that is not positive,
            an unknown surface.
    """
    check_masks(pred, target)
    step = check_spacing(spacing)
    if surface not in get_args(Surface):
        raise unknown_name("surface", surface, get_args(Surface))
    if not pred.any() or not target.any():
        return None
    window = _joint_box(pred, target)
    # Outside the joint bounding box there is background only, as outside the image.
    masks = [np.pad(mask[window], 1) for mask in (pred, target)]
    if surface == "contour":
        return _contour_distances(masks[0], masks[1], step)
    return SurfaceDistances(*_nearest(_edges(masks[0]), _edges(masks[1]), step))


def hausdorff_distance(
    pred: Mask, target: Mask, spacing: Spacing | None = None, *, surface: Surface = "edge"
) -> float | None:
    """The largest surface distance; None where a mask is empty. See `surface_distances`."""
    distances = surface_distances(pred, target, spacing, surface=surface)
    return None if distances is None else distances.percentile(100)


def hausdorff_distance_95(
    pred: Mask, target: Mask, spacing: Spacing | None = None, *, surface: Surface = "edge"
) -> float | None:
    """The 95th percentile of surface distances; None where a mask is empty. See `surface_distances`."""
    distances = surface_distances(pred, target, spacing, surface=surface)
    return None if distances is None else distances.percentile(95)


def normalized_surface_dice(
    pred: Mask,
    target: Mask,
    tolerance: float = 2.0,
    spacing: Spacing | None = None,
    *,
    surface: Surface = "edge",
) -> float:
    """Share of the two surfaces within `tolerance` (in the spacing's unit) of each other, in [0, 1].

    Both empty counts as 1, one empty as 0. See `surface_distances`.

    Raises:
        InputError: also a tolerance that is negative or not a number.
    """
    check_tolerance(tolerance)
    distances = surface_distances(pred, target, spacing, surface=surface)
    return _both_empty(pred, target) if distances is None else distances.within(tolerance)


def average_symmetric_surface_distance(
    pred: Mask, target: Mask, spacing: Spacing | None = None, *, surface: Surface = "edge"
) -> float | None:
    """Mean surface distance of both directions together; None where a mask is empty. See `surface_distances`."""
    distances = surface_distances(pred, target, spacing, surface=surface)
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


def score_pair(
    pred: Mask,
    target: Mask,
    *,
    spacing: Spacing | None = None,
    nsd_tolerance: float = 2.0,
    surface: Surface = "edge",
) -> PairScores:
    """Every metric of one pair, with the distances computed once.

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
        spacing: (y, x) in mm; None = pixels.
        nsd_tolerance: in mm, or pixels without spacing.
        surface: see `surface_distances`.

    Raises:
        InputError: see `surface_distances` and `normalized_surface_dice`.
    """
    check_tolerance(nsd_tolerance)
    distances = surface_distances(pred, target, spacing, surface=surface)
    dice, iou = dice_score(pred, target), iou_score(pred, target)
    if distances is None:
        return PairScores(dice, iou, None, None, _both_empty(pred, target), None)
    return PairScores(
        dice,
        iou,
        distances.percentile(95),
        distances.percentile(100),
        distances.within(nsd_tolerance),
        distances.mean(),
    )


def _both_empty(pred: Mask, target: Mask) -> float:
    return float(not pred.any() and not target.any())


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is negative or not a number, by InputError."""
    if not tolerance >= 0:  # also refuses NaN
        raise InputError(f"tolerance: must be 0 or more, got {tolerance}")


def check_spacing(spacing: Spacing | None) -> Spacing:
    """(y, x); 1 without a spacing. Refuses one that is not two positive numbers, by InputError."""
    if spacing is None:
        return (1.0, 1.0)
    if len(spacing) != 2 or not all(isfinite(size) and size > 0 for size in spacing):
        raise InputError(f"spacing: must be two positive numbers (y, x), got {spacing}")
    return spacing


def _joint_box(pred: Mask, target: Mask) -> tuple[slice, slice]:
    union = pred | target
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _edges(mask: Mask) -> Mask:
    """Foreground pixels with a background neighbour above, below, left or right; `mask` is padded by one pixel."""
    edges = mask.copy()
    inside = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edges[1:-1, 1:-1] &= ~inside
    return edges


def _nearest(pred: Mask, target: Mask, step: Spacing) -> tuple[Floats, Floats]:
    """Distances of each of the prediction's elements to the target's nearest one, and the reverse."""
    elements = int(np.count_nonzero(pred)) + int(np.count_nonzero(target))
    if elements * TREE_BELOW < pred.size:
        points = [np.argwhere(mask).astype(np.float64) for mask in (pred, target)]
        return _tree_distances(points[0], points[1], step), _tree_distances(points[1], points[0], step)
    to_pred, to_target = (scipy.ndimage.distance_transform_edt(~elements, sampling=step) for elements in (pred, target))
    return to_target[pred], to_pred[target]


def _tree_distances(points: Floats, others: Floats, step: Spacing) -> Floats:
    """(n,) distance of each point (n, 2) to the nearest other, rounded as the distance transform rounds."""
    scale = np.asarray(step)
    tree = scipy.spatial.cKDTree(others * scale, balanced_tree=False, compact_nodes=False)
    nearest = tree.query(points * scale)[1]
    result: Floats = np.sqrt((((others[nearest] - points) * scale) ** 2).sum(axis=1))
    return result


def _percentile(distances: Floats, lengths: Floats | None, q: float) -> float:
    if lengths is None:
        return float(np.percentile(distances, q))
    # Shorter elements first among equals, as the library sorts: the running sum rounds alike.
    order = np.lexsort((lengths, distances))
    reached = np.cumsum(lengths[order]) / lengths[order].sum()
    return float(distances[order][min(int(np.searchsorted(reached, q / 100)), len(order) - 1)])


def _contour_distances(pred: Mask, target: Mask, step: Spacing) -> SurfaceDistances:
    lengths = contour_lengths(step)
    codes = [_neighbourhood_codes(mask) for mask in (pred, target)]
    elements = [lengths[code] > 0 for code in codes]
    return SurfaceDistances(
        *_nearest(elements[0], elements[1], step), lengths[codes[0]][elements[0]], lengths[codes[1]][elements[1]]
    )


def _neighbourhood_codes(mask: Mask) -> NDArray[np.uint8]:
    """(H, W) padded by one pixel of background -> (H-1, W-1): 8, 4, 2, 1 for the corners in reading order."""
    bits = mask.astype(np.uint8)
    codes: NDArray[np.uint8] = 8 * bits[:-1, :-1] + 4 * bits[:-1, 1:] + 2 * bits[1:, :-1] + bits[1:, 1:]
    return codes


def contour_lengths(step: Spacing) -> Floats:
    """(16,) length of the contour through a 2x2 neighbourhood by its code."""
    height, width = step
    corner = 0.5 * hypot(height, width)  # cuts one corner off: from edge middle to edge middle
    lengths = np.full(16, corner)
    lengths[[0b0000, 0b1111]] = 0.0
    lengths[[0b0011, 0b1100]] = width
    lengths[[0b0101, 0b1010]] = height
    lengths[[0b0110, 0b1001]] = 2 * corner
    return lengths
