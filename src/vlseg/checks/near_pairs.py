"""Which images are compared closely, and what the close look says.

Products of coarse descriptors, against cropped variants of every image, give candidates; those are aligned by scale
and shift, first coarsely, then as they are, and judged by correlation. Medical images of one kind share frame and
layout: all work is on local contrast, and what the images of a collection have in common, say the rim of the field of
view, counts for little among the candidates.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from vlseg.checks.near_align import Floats, align, contrast, correlate, sampling

SIZE = 96  # side of the thumbnails, pixels
COARSE = 32  # side of the images for candidates, pixels
FREQUENCIES = 12  # per axis, of the coarse image's cosine transform
PRIOR = 50.0  # images of no pattern that are added when the common pattern is estimated: it matters for small sets
CANDIDATE = 0.4  # least similarity of the descriptors
ROUGH = 0.7  # least correlation of the aligned coarse images
GAIN = 0.35  # more than the last alignment adds to the correlation of copies: measured at 0.21 and less
ROWS = 256  # images per block
PAIRS = 32  # pairs per block: what a step needs of them stays in the processor's cache
WORKERS = min(8, os.cpu_count() or 1)

Bar = Callable[[Sequence[Any]], Iterable[Any]]
"""Passes the blocks of work on, and shows how many are done."""

# Left, top, width and height of the part that is kept, share of the image's width and height.
_CROPS = np.array(
    [(0, 0, 1, 1), (0.025, 0.025, 0.95, 0.95), (0.05, 0.05, 0.9, 0.9)]
    + [(0, 0, 0.95, 1), (0.05, 0, 0.95, 1), (0, 0, 1, 0.95), (0, 0.05, 1, 0.95)]
    + [(x, y, 0.95, 0.95) for x in (0, 0.05) for y in (0, 0.05)],
    dtype=np.float32,
)


def distinct_pairs(
    thumbnails: Sequence[NDArray[np.uint8]], threshold: float, per_image: int, bar: Bar = iter
) -> list[tuple[int, int, float]]:
    """Pairs of images (96, 96) that are copies of one another, each once, with their correlation.

    Args:
        thumbnails: no two the same.
        threshold: least correlation of the aligned thumbnails.
        per_image: how many others, the most similar, are compared with each image.
        bar: shows progress of the comparisons.
    """
    if len(thumbnails) < 2:
        return []
    images = np.stack(thumbnails)
    blocks = [images[at : at + ROWS] for at in range(0, len(images), ROWS)]
    coarse = np.concatenate([_coarse(block) for block in blocks])
    pairs, starts = _candidates(coarse, per_image)
    fine = np.concatenate(
        [contrast(block.astype(np.float32), blur=0.7, width=2.0).astype(np.float16) for block in blocks]
    )

    def confirm(at: int) -> list[tuple[int, int, float]]:
        return _confirmed(coarse, fine, pairs[at : at + PAIRS], starts[at : at + PAIRS], threshold)

    with ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(confirm, at) for at in range(0, len(pairs), PAIRS)]
        return [pair for block in bar(work) for pair in block.result()]


def _confirmed(
    coarse: Floats, fine: NDArray[np.float16], pairs: NDArray[np.intp], starts: Floats, threshold: float
) -> list[tuple[int, int, float]]:
    """The pairs that are copies. Each step is dearer than the one before, and sees fewer pairs."""
    starts, rough = align(coarse[pairs[:, 1]], coarse[pairs[:, 0]], starts, steps=8)
    pairs, starts = pairs[rough >= ROUGH], starts[rough >= ROUGH]
    if not len(pairs):
        return []
    still, moving = (fine[pairs[:, side]].astype(np.float32) for side in (1, 0))
    near = correlate(still, moving, starts) >= threshold - GAIN
    if not near.any():
        return []
    pairs = pairs[near]
    _, similarity = align(still[near], moving[near], starts[near], steps=3)
    kept = similarity >= threshold
    return [(int(one), int(two), float(value)) for (one, two), value in zip(pairs[kept], similarity[kept], strict=True)]


def _coarse(thumbnails: NDArray[np.uint8]) -> Floats:
    """(N, 96, 96) to (N, 32, 32) local contrast."""
    step = SIZE // COARSE
    means = thumbnails.reshape(-1, COARSE, step, COARSE, step).mean(axis=(2, 4), dtype=np.float32)
    return contrast(means, blur=0.5, width=1.3)


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
    across = basis @ sampling(crop[None, 0], crop[None, 2], COARSE)[0]
    down = basis @ sampling(crop[None, 1], crop[None, 3], COARSE)[0]
    waves = down @ coarse @ across.T
    waves[:, 0, 0] = 0
    return _unit_rows(waves.reshape(len(coarse), -1))
