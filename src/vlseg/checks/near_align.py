"""Alignment of image pairs by scale and shift, by Gauss-Newton steps on their local contrast."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float32]

FLOOR = 2.0  # grey levels of local contrast that count as noise
SLACK = 0.2  # how far scale (from 1) and shift (from 0) may go, share of the image side
RIDGE = 1e-4  # share of the trace that is added to the diagonal of the normal equations
SMALLEST = 1 / 16  # share of a step: when even this one makes things worse, the top is reached
WHOLE = np.array((0, 0, 1, 1), dtype=np.float32)


def contrast(images: Floats, blur: float, width: float) -> Floats:
    """(N, S, S) band-passed and divided by its local strength: else the rim of a field of view outweighs all."""
    band = _blur(images, blur) - _blur(images, width)
    return np.asarray(band / np.sqrt(_blur(band**2, 1.5 * width) + FLOOR**2), dtype=np.float32)


def _blur(images: Floats, sigma: float) -> Floats:
    """(N, S, S) smoothed by a Gaussian: as products, which for many small images is quicker than filtering."""
    kernel = gaussian_filter1d(np.eye(images.shape[1], dtype=np.float32), sigma, axis=0)
    return np.asarray(kernel @ images @ kernel.T, dtype=np.float32)


def sampling(offset: Floats, scale: Floats, size: int) -> Floats:
    """(P, S, S) weights that sample a line of S pixels linearly at offset + scale * place, places in [0, 1]."""
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    at = (offset[:, None] + scale[:, None] * places) * size - 0.5
    weights = at[:, :, None] - np.arange(size, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.asarray(np.maximum(weights, 0, out=weights), dtype=np.float32)


def align(
    still: Floats, moving: Floats, start: Floats, steps: int, reach: float = 0.1, settled: float = 1e-4
) -> tuple[Floats, Floats]:
    """Crops (P, 4) of the moving images that correlate best with the still ones (P, S, S), and the correlation (P,).

    Gauss-Newton steps on the difference of the normalised images, over their overlap; a step that makes things worse is
    taken back and a quarter of it tried. A pair that nothing more is gained for is left alone.

    Args:
        still: (P, S, S).
        moving: (P, S, S).
        start: crops (P, 4): left, top, width, height, shares of the side.
        steps: how often at most the images are compared.
        reach: pixels to either side between which slopes are taken: narrow ones end at the top, wide ones pass over
            small hills on the way.
        settled: gain in a step up to which a pair counts as aligned.
    """
    crops, best_crops, best_change = start.copy(), start.copy(), np.zeros_like(start)
    best = np.full(len(still), -1, dtype=np.float32)
    share = np.ones(len(still), dtype=np.float32)
    active = np.arange(len(still))
    for step in range(steps):
        correlation, change = _step(still, moving, crops, reach)
        gain = correlation - best[active]
        better = gain > 0
        risen = active[better]
        best[risen], best_crops[risen], best_change[risen] = correlation[better], crops[better], change[better]
        share[active] = np.where(better, 1, share[active] / 4)
        going = np.where(better, gain > settled, share[active] >= SMALLEST)
        if step == steps - 1 or not going.any():
            break
        if not going.all():
            active, still, moving = active[going], still[going], moving[going]
        ahead = best_crops[active] + share[active, None] * best_change[active]
        crops = WHOLE + np.clip(ahead - WHOLE, -SLACK, SLACK)
    return best_crops, best


def _weights(crops: Floats, size: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Weights (P, S, S) that stretch the crops to the whole, across and down, and what lies inside of the images."""
    across, down = sampling(crops[:, 0], crops[:, 2], size), sampling(crops[:, 1], crops[:, 3], size)
    inside = (down.sum(2)[:, :, None] > 0.99) & (across.sum(2)[:, None, :] > 0.99)
    return across, down, inside


def _slopes(offset: Floats, scale: Floats, size: int, reach: float) -> Floats:
    """(P, S, S) weights that give the slope of the sampled line, per image side.

    Of the linear interpolation itself, not of the pixel grid: with those the steps end beside the top.
    """
    aside = reach / size
    ahead, behind = sampling(offset + aside, scale, size), sampling(offset - aside, scale, size)
    return np.asarray((ahead - behind) / np.float32(2 * aside), dtype=np.float32)


def _step(still: Floats, moving: Floats, crops: Floats, reach: float) -> tuple[Floats, Floats]:
    """Correlation (P,) at the crops, and the change (P, 4) of the crops that should raise it."""
    size = still.shape[1]
    across, down, inside = _weights(crops, size)
    slope_across, slope_down = (_slopes(crops[:, axis], crops[:, axis + 2], size, reach) for axis in (0, 1))
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    lines = moving @ across.transpose(0, 2, 1)
    warped, norm = _unit(np.asarray(down @ lines, dtype=np.float32), inside)
    target, _ = _unit(still, inside)
    slopes = np.empty((len(still), 4, size, size), dtype=np.float32)
    np.matmul(down, moving @ slope_across.transpose(0, 2, 1), out=slopes[:, 0])
    np.matmul(slope_down, lines, out=slopes[:, 1])
    slopes[:, :2] *= inside[:, None]
    np.multiply(slopes[:, 0], places, out=slopes[:, 2])
    np.multiply(slopes[:, 1], places[:, None], out=slopes[:, 3])
    rows = slopes.reshape(len(still), 4, -1)
    # Projected on what is at right angles to the image and to a constant: brightness and strength do not count.
    along_image = rows @ warped[:, :, None]
    constant = rows.sum(axis=2, keepdims=True) / np.sqrt(np.maximum(inside.sum(axis=(1, 2)), 1))[:, None, None]
    normal = rows @ rows.transpose(0, 2, 1)
    for along in (along_image, constant.astype(np.float32)):
        normal -= along @ along.transpose(0, 2, 1)
    correlation = np.sum(target * warped, axis=1)
    right = rows @ target[:, :, None] - along_image * correlation[:, None, None]
    scale = norm[:, None, None]
    normal, right = normal / scale**2, right / scale
    ridge = RIDGE * np.trace(normal, axis1=1, axis2=2) + 1e-9
    normal += ridge[:, None, None] * np.eye(4, dtype=np.float32)
    return correlation, np.linalg.solve(normal, right)[:, :, 0]


def _unit(images: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(P, S * S) of mean 0 and norm 1 over the inside, 0 outside; and the norms (P,)."""
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    kept = images * inside
    kept -= (kept.sum(axis=(1, 2), keepdims=True) / count).astype(np.float32) * inside
    flat = kept.reshape(len(images), -1)
    norm = np.maximum(np.linalg.norm(flat, axis=1), np.float32(1e-6))
    flat /= norm[:, None]
    return flat, norm
