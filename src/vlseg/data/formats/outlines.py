"""Outlines and run-length codes as annotation files hold them, and the masks they stand for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlseg.data.masks import Mask
from vlseg.records import InputError

_MOST_DIGITS = 7
"""Groups of five bits that a count may have: 2**35 exceeds every image."""


def is_outline(segmentation: Any) -> bool:
    """False for what boxes without outline have: nothing, or an empty list."""
    return segmentation not in (None, [], {}, "", [[]])


def union(outlines: Sequence[Any], size: tuple[int, int], where: str) -> Mask:
    """The mask (H, W) of all outlines, each as `decode` takes it; empty where there is none.

    Raises:
        InputError: what `decode` raises, or polygons that together cover no pixel.
    """
    mask = np.zeros(size, dtype=np.bool_)
    for outline in outlines:
        mask |= decode(outline, size, where)
    if not mask.any() and any(isinstance(outline, list) for outline in outlines):
        raise InputError(f"{where}: its polygons are too small to cover a pixel; correct or delete them")
    return mask


def decode(segmentation: Any, size: tuple[int, int], where: str) -> Mask:
    """The mask (H, W) of polygons, of COCO's plain or compressed run-length code, or of CVAT's.

    Polygons may reach out of the image, by up to its own size; only what lies inside counts. CVAT's code is a dict with
    "rle" (runs by rows, the first of background) and the "left", "top", "width" and "height" of what it covers.

    Raises:
        InputError: none of these, a code for another size, or a polygon that is not finite or lies outside.
    """
    if isinstance(segmentation, dict) and "rle" in segmentation:
        return _cut_out(segmentation, size, where)
    if isinstance(segmentation, dict):
        return _runs(segmentation, size, where)
    polygons = segmentation if isinstance(segmentation, list) else []
    if not polygons or not all(isinstance(polygon, list) for polygon in polygons):
        raise InputError(f"{where}: its segmentation is neither polygons ([[x, y, ...]]) nor a run-length code")
    return _filled([_points(polygon, size, where) for polygon in polygons], size)


def encode(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as compressed run-length code, which loses nothing."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(length) for length in found["size"]], "counts": found["counts"].decode()}


def _points(polygon: Sequence[Any], size: tuple[int, int], where: str) -> NDArray[np.float64]:
    """The polygon's corners (n, 2) as x, y."""
    height, width = size
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in polygon)
    if not numeric or len(polygon) < 6 or len(polygon) % 2:
        raise InputError(
            f"{where}: its segmentation is neither polygons (x, y, ... of three points or more) nor a code: "
            f"{len(polygon)} values; correct or delete it"
        )
    try:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        points = np.full((1, 2), np.inf)
    far = np.array([width, height])
    # The comparison is false for what is not a number.
    inside = (points >= -far).all() and (points <= 2 * far).all()
    if not inside:
        raise InputError(
            f"{where}: a polygon has points that are no numbers or far outside of the image ({width}x{height}); "
            "correct or delete it"
        )
    if (points.max(axis=0) <= 0).any() or (points.min(axis=0) >= far).any():
        raise InputError(f"{where}: a polygon lies outside of the image ({width}x{height}); correct or delete it")
    return points


def _filled(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> Mask:
    from pycocotools import mask as coco

    codes = coco.frPyObjects([points.ravel().tolist() for points in polygons], *size)
    return np.asarray(coco.decode(coco.merge(codes)), dtype=bool)


def _runs(code: dict[str, Any], size: tuple[int, int], where: str) -> Mask:
    height, width = size
    counts, shape = code.get("counts"), code.get("size")
    if shape != [height, width]:
        raise InputError(f"{where}: its run-length code is for {shape}, the image is {[height, width]} (H, W)")
    if isinstance(counts, str):
        runs = _uncompressed(counts, where)
    elif isinstance(counts, list) and all(isinstance(run, int) and 0 <= run <= height * width for run in counts):
        runs = np.asarray(counts, dtype=np.int64)
    else:
        raise InputError(f"{where}: its run-length code has 'counts' that are neither numbers in the image nor a text")
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise InputError(
            f"{where}: its run-length code covers {runs.sum()} pixels, not {height * width}; export it anew"
        )
    return np.asarray(np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T, dtype=bool)


def _cut_out(code: dict[str, Any], size: tuple[int, int], where: str) -> Mask:
    left, top, width, height = (code[key] for key in ("left", "top", "width", "height"))
    runs = np.asarray(code["rle"], dtype=np.int64)
    inside = left >= 0 and top >= 0 and width > 0 and height > 0
    if not inside or left + width > size[1] or top + height > size[0]:
        raise InputError(
            f"{where}: a mask of {width}x{height} at {left}, {top} reaches out of the image ({size[1]}x{size[0]}); "
            "export it anew"
        )
    if (runs < 0).any() or (runs > width * height).any() or runs.sum() != width * height:
        raise InputError(f"{where}: a mask's rle covers {runs.sum()} pixels, not {width}x{height}; export it anew")
    mask = np.zeros(size, dtype=np.bool_)
    part = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    mask[top : top + height, left : left + width] = part
    return mask


def _uncompressed(text: str, where: str) -> NDArray[np.int64]:
    """The counts of COCO's compressed form (cocoapi, maskApi.c).

    A character holds five bits, the lowest first, and 32 when more follow; the last one's fifth bit is the sign.
    From the fourth on, a count is the difference to the last but one.
    """
    letters = np.array([ord(letter) for letter in text], dtype=np.int64) - 48
    more = letters >= 32
    if len(letters) == 0 or (letters < 0).any() or (letters > 63).any() or more[-1]:
        raise InputError(
            f"{where}: its run-length code is cut off or holds characters that no code has; export it anew"
        )
    first = np.concatenate([[0], np.flatnonzero(~more)[:-1] + 1])
    lengths = np.diff(np.append(first, len(letters)))
    if lengths.max() > _MOST_DIGITS:
        raise InputError(f"{where}: its run-length code holds a number that no image has; export it anew")
    place = 5 * (np.arange(len(letters)) - np.repeat(first, lengths))
    counts = np.add.reduceat((letters & 31) << place, first)
    negative = (letters[first + lengths - 1] & 16) != 0
    counts -= np.where(negative, np.int64(1) << (5 * lengths), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return np.asarray(counts)
