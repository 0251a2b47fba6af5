"""The plain comparison of near-copies: one pair at a time, in float64, to the very top, and no pair dropped on the way.

Written apart from `vlseg.checks.near_align`: bilinear sampling by places, slopes by differences of the warped image,
and a step halved until it helps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Image = NDArray[np.float64]
WHOLE = np.array((0.0, 0.0, 1.0, 1.0))
ASIDE = 1e-3  # change of a crop's numbers between which slopes are taken


def levels(thumbnail: NDArray[np.uint8]) -> tuple[Image, Image]:
    """Local contrast of a (96, 96) thumbnail at 32 and at 96 pixels."""
    pixels = thumbnail.astype(float)
    return _contrast(pixels.reshape(32, 3, 32, 3).mean((1, 3)), 0.5, 1.3), _contrast(pixels, 0.7, 2.0)


def align_fully(moving: tuple[Image, Image], still: tuple[Image, Image], start: NDArray[np.floating]) -> float:
    """Correlation of two images, each by `levels`, aligned at 32 pixels from the start, then at 96."""
    crop, _ = climb(still[0], moving[0], start)
    return climb(still[1], moving[1], crop)[1]


def climb(still: Image, moving: Image, start: NDArray[np.floating], steps: int = 20) -> tuple[Image, float]:
    """The crop (4) of the moving image that correlates best with the still one (S, S), and the correlation."""
    crop = np.asarray(start, float)
    best, best_crop, last = -1.0, crop, -9.0
    for _ in range(steps):
        warped, inside = _warp(moving, crop)
        target, _ = _unit(still[inside])
        image, norm = _unit(warped[inside])
        correlation = float(target @ image)
        if correlation > best:
            best, best_crop = correlation, crop
        if abs(correlation - last) < 1e-7:
            break
        last = correlation
        change = _change(moving, crop, inside, target, image, norm)
        for share in (1, 0.5, 0.25, 0.125):
            ahead = WHOLE + np.clip(crop + share * change - WHOLE, -0.2, 0.2)
            if _correlation(still, moving, ahead) > correlation:
                break
        crop = ahead
    return best_crop, best


def _change(moving: Image, crop: Image, inside: NDArray[np.bool_], target: Image, image: Image, norm: float) -> Image:
    slopes = np.stack([_warp(moving, crop + d)[0] - _warp(moving, crop - d)[0] for d in ASIDE * np.eye(4)])
    rows = slopes[:, inside] / (2 * ASIDE * norm)
    rows -= rows.mean(axis=1, keepdims=True)
    rows -= np.outer(rows @ image, image)
    normal = rows @ rows.T
    return np.linalg.solve(normal + 1e-6 * np.trace(normal) * np.eye(4), rows @ (target - image * (target @ image)))


def _correlation(still: Image, moving: Image, crop: Image) -> float:
    warped, inside = _warp(moving, crop)
    return float(_unit(still[inside])[0] @ _unit(warped[inside])[0])


def _warp(moving: Image, crop: Image) -> tuple[Image, NDArray[np.bool_]]:
    across, column = _line(crop[0], crop[2], len(moving))
    down, row = _line(crop[1], crop[3], len(moving))
    return down @ moving @ across.T, row[:, None] & column[None]


def _line(offset: float, scale: float, size: int) -> tuple[Image, NDArray[np.bool_]]:
    at = (offset + scale * (np.arange(size) + 0.5) / size) * size - 0.5
    low = np.floor(at).astype(int)
    weights, row = np.zeros((size, size)), np.arange(size)
    for place, weight in ((low, low + 1 - at), (low + 1, at - low)):
        there = (place >= 0) & (place < size)
        weights[row[there], place[there]] += weight[there]
    return weights, (at >= -0.01) & (at <= size - 0.99)


def _unit(values: Image) -> tuple[Image, float]:
    values = values - values.mean()
    norm = max(float(np.linalg.norm(values)), 1e-9)
    return values / norm, norm


def _contrast(image: Image, blur: float, width: float) -> Image:
    band = _blur(image, blur) - _blur(image, width)
    return np.asarray(band / np.sqrt(_blur(band**2, 1.5 * width) + 2.0**2))


def _blur(image: Image, sigma: float) -> Image:
    kernel = gaussian_filter1d(np.eye(len(image)), sigma, axis=0)
    return np.asarray(kernel @ image @ kernel.T)
