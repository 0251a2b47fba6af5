"""Near-duplicate images: copies that were recompressed, resized, brightened or slightly cropped.

Three steps, each on fewer pairs: small thumbnails of all images; products of coarse descriptors, against cropped
variants of every image, for candidates; and for those an alignment by scale and shift, judged by correlation.
Medical images of one kind share frame and layout: all work is on local contrast, and what the images of a
collection have in common, say the rim of the field of view, counts for little among the candidates.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dct
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from vlseg.data.images import PERCENTILES, open_image
from vlseg.records import InputError

Floats = NDArray[np.float32]

SIZE = 96  # side of the thumbnails, pixels
COARSE = 32  # side of the images for candidates, pixels
FREQUENCIES = 12  # per axis, of the coarse image's cosine transform
PRIOR = 50.0  # images of no pattern that are added when the common pattern is estimated: it matters for small sets
FLAT = 0.5  # grey levels: with less local contrast there is nothing to compare
FLOOR = 2.0  # grey levels of local contrast that count as noise
CANDIDATE = 0.4  # least similarity of the descriptors
ROUGH = 0.7  # least correlation of the aligned coarse images
THRESHOLD = 0.75  # least correlation of the thumbnails: copies were measured at 0.86 and more, other fundi below 0.65
SLACK = 0.2  # how far scale (from 1) and shift (from 0) may go, share of the image side
ROWS = 256  # images per block
PAIRS = 128  # pairs per block

# Left, top, width and height of the part that is kept, share of the image's width and height.
_CROPS = np.array(
    [(0, 0, 1, 1), (0.025, 0.025, 0.95, 0.95), (0.05, 0.05, 0.9, 0.9)]
    + [(0, 0, 0.95, 1), (0.05, 0, 0.95, 1), (0, 0, 1, 0.95), (0, 0.05, 1, 0.95)]
    + [(x, y, 0.95, 0.95) for x in (0, 0.05) for y in (0, 0.05)],
    dtype=np.float32,
)


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
    descriptors: Sequence[Descriptor | None], threshold: float = THRESHOLD, per_image: int = 50
) -> list[Near]:
    """All pairs that are copies of one another up to compression, size, brightness and a crop by some 5 %.

    Identical thumbnails are compared once and all their pairs reported. Flat images are pairs only when all pixels
    are the same. Mirrored and turned copies are not found.

    Args:
        descriptors: one per image; None is in no pair.
        threshold: least correlation of the aligned thumbnails, in (0, 1].
        per_image: how many other images, the most similar, are looked at closely for each image.

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
    for one, other, similarity in _distinct_pairs(list(distinct.values()), threshold, per_image):
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


def _distinct_pairs(
    images: list[NDArray[np.uint8]], threshold: float, per_image: int
) -> Iterator[tuple[int, int, float]]:
    if len(images) < 2:
        return
    thumbnails = np.stack(images)
    coarse = np.concatenate([_coarse(thumbnails[at : at + ROWS]) for at in range(0, len(images), ROWS)])
    pairs, starts = _candidates(coarse, per_image)
    for at in range(0, len(pairs), PAIRS):
        pair, start = pairs[at : at + PAIRS], starts[at : at + PAIRS]
        start, rough = _align(coarse[pair[:, 1]], coarse[pair[:, 0]], start, steps=8)
        pair, start = pair[rough >= ROUGH], start[rough >= ROUGH]
        if not len(pair):
            continue
        fine = _contrast(thumbnails[pair.ravel()].astype(np.float32), blur=0.7, width=2.0).reshape(-1, 2, SIZE, SIZE)
        _, similarity = _align(fine[:, 1], fine[:, 0], start, steps=3)
        for (one, other), value in zip(pair.tolist(), similarity.tolist(), strict=True):
            if value >= threshold:
                yield one, other, value


def _coarse(thumbnails: NDArray[np.uint8]) -> Floats:
    """(N, 96, 96) to (N, 32, 32) local contrast."""
    step = SIZE // COARSE
    means = thumbnails.reshape(-1, COARSE, step, COARSE, step).mean(axis=(2, 4), dtype=np.float32)
    return _contrast(means, blur=0.5, width=1.3)


def _blur(images: Floats, sigma: float) -> Floats:
    """(N, S, S) smoothed by a Gaussian: as products, which for many small images is quicker than filtering."""
    kernel = gaussian_filter1d(np.eye(images.shape[1], dtype=np.float32), sigma, axis=0)
    return np.asarray(kernel @ images @ kernel.T, dtype=np.float32)


def _contrast(images: Floats, blur: float, width: float) -> Floats:
    """(N, S, S) band-passed and divided by its local strength: else the rim of a field of view outweighs all."""
    band = _blur(images, blur) - _blur(images, width)
    return np.asarray(band / np.sqrt(_blur(band**2, 1.5 * width) + FLOOR**2), dtype=np.float32)


def _candidates(coarse: Floats, per_image: int) -> tuple[NDArray[np.intp], Floats]:
    """(P, 2) pairs, each once, and (P, 4) crops: the second image looks like that part of the first."""
    mixing = _whitening(_features(coarse, _CROPS[0]))
    whole = _unit_rows(_features(coarse, _CROPS[0]) @ mixing)
    rows: list[tuple[float, int, int, int]] = []
    for at in range(0, len(coarse), ROWS):
        variants = np.stack([_unit_rows(_features(coarse[at : at + ROWS], crop) @ mixing) for crop in _CROPS])
        scores = variants[0] @ whole.T
        for variant in variants[1:]:
            np.maximum(scores, variant @ whole.T, out=scores)
        scores[np.arange(len(scores)), at + np.arange(len(scores))] = -1
        for row, columns in _best_columns(scores, per_image):
            crops = (variants[:, row] @ whole[columns].T).argmax(axis=0)
            one = [at + row] * len(columns)
            rows += zip(scores[row, columns].tolist(), one, columns.tolist(), crops.tolist(), strict=True)
    best = {(min(one, other), max(one, other)): (one, other, crop) for _, one, other, crop in sorted(rows)}
    table = np.array(list(best.values()), dtype=np.intp).reshape(-1, 3)
    return table[:, :2], _CROPS[table[:, 2]]


def _whitening(features: Floats) -> Floats:
    """(F, F) that makes what all images have in common as weak as the rest, by their second moments.

    Not by covariance: without the mean two copies, and nothing else, would be opposites.
    """
    count = features.shape[1]
    moments = features.T @ features + np.eye(count, dtype=np.float32) * (PRIOR / count)
    values, vectors = np.linalg.eigh(moments)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T, dtype=np.float32)


def _unit_rows(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _best_columns(scores: Floats, most: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    enough = scores >= CANDIDATE
    for row in np.flatnonzero(enough.any(axis=1)).tolist():
        columns = np.flatnonzero(enough[row])
        if len(columns) > most:
            columns = columns[np.argpartition(-scores[row, columns], most)[:most]]
        yield row, columns


def _features(coarse: Floats, crop: Floats) -> Floats:
    """(N, 144) of unit norm: the low cosine frequencies of the crop, stretched to the whole."""
    basis = dct(np.eye(COARSE, dtype=np.float32), axis=0, norm="ortho")[:FREQUENCIES]
    across = basis @ _sampling(crop[None, 0], crop[None, 2], COARSE)[0]
    down = basis @ _sampling(crop[None, 1], crop[None, 3], COARSE)[0]
    waves = down @ coarse @ across.T
    waves[:, 0, 0] = 0
    return _unit_rows(waves.reshape(len(coarse), -1))


def _sampling(offset: Floats, scale: Floats, size: int) -> Floats:
    """(P, S, S) weights that sample a line of S pixels linearly at offset + scale * place, places in [0, 1]."""
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    at = (offset[:, None] + scale[:, None] * places) * size - 0.5
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, :, None] - np.arange(size))), dtype=np.float32)


def _align(still: Floats, moving: Floats, start: Floats, steps: int) -> tuple[Floats, Floats]:
    """Crops (P, 4) of the moving images that correlate best with the still ones (P, S, S), and the correlation (P,).

    Gauss-Newton steps on the difference of the normalised images, over their overlap; the best step counts.
    """
    crops, best_crops = start.copy(), start.copy()
    best = np.full(len(still), -1, dtype=np.float32)
    for _ in range(steps):
        correlation, change = _step(still, moving, crops)
        better = correlation > best
        best[better], best_crops[better] = correlation[better], crops[better]
        crops = _CROPS[0] + np.clip(crops + change - _CROPS[0], -SLACK, SLACK)
    return best_crops, best


def _step(still: Floats, moving: Floats, crops: Floats) -> tuple[Floats, Floats]:
    """Correlation (P,) at the crops, and the change (P, 4) of the crops that should raise it."""
    size = still.shape[1]
    across, down = _sampling(crops[:, 0], crops[:, 2], size), _sampling(crops[:, 1], crops[:, 3], size)
    slope = np.gradient(np.eye(size, dtype=np.float32), 1 / size, axis=0)
    inside = (down.sum(2)[:, :, None] > 0.99) & (across.sum(2)[:, None, :] > 0.99)
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    lines = moving @ across.transpose(0, 2, 1)
    to_x = down @ moving @ (across @ slope).transpose(0, 2, 1)
    to_y = (down @ slope) @ lines
    warped, norm = _unit(np.asarray(down @ lines, dtype=np.float32), inside)
    target, _ = _unit(still, inside)
    slopes = np.stack([to_x, to_y, to_x * places, to_y * places[:, None]], axis=1).reshape(len(still), 4, -1)
    slopes *= inside.reshape(len(still), 1, -1) / norm[:, None, None]
    slopes -= (slopes @ warped[:, :, None]) * warped[:, None, :]
    normal = slopes @ slopes.transpose(0, 2, 1)
    ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2) + 1e-9
    normal += ridge[:, None, None] * np.eye(4, dtype=np.float32)
    change = np.linalg.solve(normal, slopes @ (target - warped)[:, :, None])[:, :, 0]
    return np.sum(target * warped, axis=1), change


def _unit(images: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(P, S * S) of mean 0 and norm 1 over the inside, 0 outside; and the norms (P,)."""
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    mean = ((images * inside).sum(axis=(1, 2), keepdims=True) / count).astype(np.float32)
    flat = ((images - mean) * inside).reshape(len(images), -1)
    norm = np.maximum(np.linalg.norm(flat, axis=1), np.float32(1e-6))
    return flat / norm[:, None], norm
