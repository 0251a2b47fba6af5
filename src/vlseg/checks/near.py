"""Near-duplicate images: copies that were recompressed, resized, brightened or slightly cropped.

Small thumbnails of all images are kept; `near_pairs` compares them.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from vlseg.checks.near_pairs import SIZE, Bar, distinct_pairs
from vlseg.data.images import PERCENTILES, open_image
from vlseg.records import InputError

FLAT = 0.5  # grey levels: with less local contrast there is nothing to compare
THRESHOLD = 0.75  # least correlation of the thumbnails: copies were measured at 0.86 and more, other fundi below 0.65


@dataclass(frozen=True, eq=False)
class Descriptor:
    """What is kept of an image: (96, 96) uint8 grey levels, upright; and, if flat, a digest of all its pixels."""

    thumbnail: NDArray[np.uint8]
    digest: bytes | None


@dataclass(frozen=True)
class Near:
    """A pair of near duplicates: indices into the given images, first < second; similarity in [-1, 1], 1 = same."""

    first: int
    second: int
    similarity: float


def describe_image(path: Path) -> Descriptor | None:
    """The image's descriptor, or None when the file cannot be read."""
    try:
        thumbnail = _thumbnail(path)
        local = thumbnail - gaussian_filter(thumbnail.astype(np.float32), 3.0)
        return Descriptor(thumbnail, _digest(path) if float(local.std()) < FLAT else None)
    except InputError:
        return None


def describe_images(paths: Sequence[Path], workers: int = 2) -> list[Descriptor | None]:
    """`describe_image` of each path, in order, by as many threads; decoding does not hold the interpreter.

    Raises:
        InputError: fewer than one worker.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(describe_image, paths))


def near_duplicates(
    descriptors: Sequence[Descriptor | None], threshold: float = THRESHOLD, per_image: int = 50, bar: Bar = iter
) -> list[Near]:
    """All pairs that are copies of one another up to compression, size, brightness and a crop by some 5 %.

    Identical thumbnails are compared once and all their pairs reported. Flat images are pairs only when all pixels
    are the same. Mirrored and turned copies are not found.

    Args:
        descriptors: one per image; None is in no pair.
        threshold: least correlation of the aligned thumbnails, in (0, 1].
        per_image: how many other images, the most similar, are looked at closely for each image.
        bar: passes blocks of comparisons on, and shows how many are done.

    Returns:
        The pairs, ordered by first, then second.

    Raises:
        InputError: the threshold is not in (0, 1], or per_image is below 1.
    """
    if not 0 < threshold <= 1 or per_image < 1:
        raise InputError(f"threshold {threshold} must be in (0, 1] and per_image {per_image} at least 1")
    same: dict[bytes, list[int]] = {}
    distinct: dict[bytes, NDArray[np.uint8]] = {}
    for index, descriptor in enumerate(descriptors):
        if descriptor is not None:
            key = descriptor.digest or descriptor.thumbnail.tobytes()
            same.setdefault(key, []).append(index)
            if descriptor.digest is None:
                distinct[key] = descriptor.thumbnail
    found = [Near(first, second, 1.0) for group in same.values() for first, second in combinations(group, 2)]
    groups = [same[key] for key in distinct]
    for one, other, similarity in distinct_pairs(list(distinct.values()), threshold, per_image, bar):
        for first, second in product(groups[one], groups[other]):
            found.append(Near(min(first, second), max(first, second), similarity))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _thumbnail(path: Path) -> NDArray[np.uint8]:
    """(96, 96) grey levels. JPEG is decoded at a fraction of its size: decoding is what takes the time."""
    image = None
    try:
        with Image.open(path) as file:
            if file.format == "JPEG" and file.draft("L", (2 * SIZE, 2 * SIZE)):
                image = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # open_image says what is wrong
    if image is None:
        image = open_image(path)
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        return _stretched(image)
    image.info.pop("transparency", None)  # its warning about palettes is of no use here: alpha is dropped
    return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=3.0))


def _stretched(image: Image.Image) -> NDArray[np.uint8]:
    """Above 8 bit the used part of the range becomes 0 to 255: mostly it is a small one."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    small = np.asarray(Image.fromarray(values).resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=3.0))
    low, high = np.percentile(small, PERCENTILES)
    return np.asarray(np.clip((small - low) / max(high - low, 1e-6), 0, 1) * 255, dtype=np.uint8)


def _digest(path: Path) -> bytes:
    image = open_image(path)
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).digest()
