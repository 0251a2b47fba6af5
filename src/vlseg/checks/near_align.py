"""Alignment of image pairs by scale and shift, by Gauss-Newton steps on their local contrast."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float32]

FLOOR = 2.0  # grey levels of local contrast that count as noise
SLACK = 0.2  # how far scale (from 1) and shift (from 0) may go, share of the image side
SETTLED = 0.0  # change of the correlation in a step up to which there is nothing more to gain
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


def correlate(still: Floats, moving: Floats, crops: Floats) -> Floats:
    """Correlation (P,) of the still images (P, S, S) with the crops (P, 4) of the moving ones, over their overlap."""
    across, down, inside = _weights(crops, still.shape[1])
    warped = np.asarray(down @ moving @ across.transpose(0, 2, 1), dtype=np.float32)
    return np.asarray(np.sum(_unit(still, inside)[0] * _unit(warped, inside)[0], axis=1), dtype=np.float32)


def align(still: Floats, moving: Floats, start: Floats, steps: int) -> tuple[Floats, Floats]:
    """Crops (P, 4) of the moving images that correlate best with the still ones (P, S, S), and the correlation (P,).

    Gauss-Newton steps on the difference of the normalised images, over their overlap; the best step counts. A pair
    whose correlation no longer changes is left alone.
    """
    crops, best_crops = start.copy(), start.copy()
    best = np.full(len(still), -1, dtype=np.float32)
    last = best.copy()
    active = np.arange(len(still))
    for step in range(steps):
        if step < steps - 1:
            correlation, change = _step(still, moving, crops)
        else:
            correlation, change = correlate(still, moving, crops), np.zeros_like(crops)
        better = correlation > best[active]
        best[active[better]], best_crops[active[better]] = correlation[better], crops[better]
        moved = np.abs(correlation - last[active]) > SETTLED
        last[active] = correlation
        if not moved.any():
            break
        crops = WHOLE + np.clip(crops + change - WHOLE, -SLACK, SLACK)
        if not moved.all():
            active, crops, still, moving = active[moved], crops[moved], still[moved], moving[moved]
    return best_crops, best


def _weights(crops: Floats, size: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Weights (P, S, S) that stretch the crops to the whole, across and down, and what lies inside of the images."""
    across, down = sampling(crops[:, 0], crops[:, 2], size), sampling(crops[:, 1], crops[:, 3], size)
    inside = (down.sum(2)[:, :, None] > 0.99) & (across.sum(2)[:, None, :] > 0.99)
    return across, down, inside


def _step(still: Floats, moving: Floats, crops: Floats) -> tuple[Floats, Floats]:
    """Correlation (P,) at the crops, and the change (P, 4) of the crops that should raise it."""
    size = still.shape[1]
    across, down, inside = _weights(crops, size)
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    slope = np.gradient(np.eye(size, dtype=np.float32), 1 / size, axis=0)
    lines = moving @ across.transpose(0, 2, 1)
    image = np.asarray(down @ lines, dtype=np.float32)
    slopes = np.empty((len(still), 4, size, size), dtype=np.float32)
    np.matmul(down, moving @ (across @ slope).transpose(0, 2, 1), out=slopes[:, 0])
    np.matmul(down @ slope, lines, out=slopes[:, 1])
    slopes[:, :2] *= inside[:, None]
    np.multiply(slopes[:, 0], places, out=slopes[:, 2])
    np.multiply(slopes[:, 1], places[:, None], out=slopes[:, 3])
    warped, norm = _unit(image, inside)
    target, _ = _unit(still, inside)
    rows = slopes.reshape(len(still), 4, -1)
    along_image = rows @ warped[:, :, None]
    # Projected on what is at right angles to the image: its strength does not count.
    normal = rows @ rows.transpose(0, 2, 1) - along_image @ along_image.transpose(0, 2, 1)
    correlation = np.sum(target * warped, axis=1)
    right = rows @ target[:, :, None] - along_image * correlation[:, None, None]
    scale = norm[:, None, None]
    normal, right = normal / scale**2, right / scale
    ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2) + 1e-9
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
