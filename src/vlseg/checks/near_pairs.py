"""Which images are compared closely, and what the close look says.

Products of coarse descriptors, against cropped variants of every image, give candidates; those are aligned by scale
and shift, at three sizes one after the other, and judged by correlation at the largest. Medical images of one kind
share frame and layout: all work is on local contrast, and what the images of a collection have in common, say the rim
of the field of view, counts for little among the candidates.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from threadpoolctl import threadpool_limits

from vlseg.checks.near_align import Floats, align, contrast, sampling

SIZE = 96  # side of the thumbnails, pixels
COARSE = 32  # side of the images for candidates, pixels
MIDDLE = 48  # side of the images between
FREQUENCIES = 12  # per axis, of the coarse image's cosine transform
PRIOR = 50.0  # images of no pattern that are added when the common pattern is estimated: it matters for small sets
CANDIDATE = 0.4  # least similarity of the descriptors
ROWS = 256  # images per block
PAIRS = 32  # pairs per block: what a step needs of them stays in the processor's cache
WORKERS = min(8, os.cpu_count() or 1)


class Stage(NamedTuple):
    """One alignment, from where the one before ended."""

    level: int
    """Which of the three sizes, from the smallest."""
    steps: int
    reach: float
    settled: float
    margin: float
    """Pairs whose correlation is below the threshold less this are dropped.

    No bound, and chosen on the pairs it was measured on: of 2,200 pairs above the threshold, copies and different
    films, the lowest were 0.02 below it at the smallest size, 0.03 above it at the middle one, 0.14 below it at the
    first look at the largest.
    """


STAGES = (
    Stage(0, 12, 0.5, 1e-3, 0.1),
    Stage(1, 8, 0.5, 1e-3, 0.05),
    Stage(2, 3, 0.5, 1e-3, 0.2),
    Stage(2, 8, 0.1, 3e-4, 0.1),
)
"""Each is dearer than the one before, and sees fewer pairs."""

AGAIN = (Stage(0, 20, 0.1, 1e-5, 0.1), Stage(2, 20, 0.1, 1e-5, 0.0))
"""For pairs that end just below the threshold: by another way, to the very top."""

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
    levels = _levels(images)
    pairs, starts = _candidates(levels[0].astype(np.float32), per_image, bar)

    def confirm(at: int) -> list[tuple[int, int, float]]:
        return _confirmed(levels, pairs[at : at + PAIRS], starts[at : at + PAIRS], threshold)

    # Products this small are slower on several threads each, three times so where the workers fill the cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(confirm, at) for at in range(0, len(pairs), PAIRS)]
        return [pair for block in bar(work) for pair in block.result()]


def _levels(thumbnails: NDArray[np.uint8]) -> list[NDArray[np.float16]]:
    """Local contrast of the images (N, 96, 96): (N, 32, 32), (N, 48, 48) and (N, 96, 96)."""
    return [
        np.concatenate(
            [
                contrast(_reduced(thumbnails[at : at + ROWS], side), blur, width).astype(np.float16)
                for at in range(0, len(thumbnails), ROWS)
            ]
        )
        for side, blur, width in ((COARSE, 0.5, 1.3), (MIDDLE, 0.6, 1.6), (SIZE, 0.7, 2.0))
    ]


def _reduced(thumbnails: NDArray[np.uint8], side: int) -> Floats:
    step = SIZE // side
    return np.asarray(thumbnails.reshape(-1, side, step, side, step).mean(axis=(2, 4)), dtype=np.float32)


def _confirmed(
    levels: Sequence[NDArray[np.float16]], pairs: NDArray[np.intp], starts: Floats, threshold: float
) -> list[tuple[int, int, float]]:
    """The pairs that are copies, with their correlation."""
    at, similarity = _climbed(levels, pairs, starts, STAGES, threshold)
    below = at[similarity < threshold]
    more, higher = _climbed(levels, pairs[below], starts[below], AGAIN, threshold)
    sure = similarity >= threshold
    chosen, values = np.concatenate([at[sure], below[more]]), np.concatenate([similarity[sure], higher])
    return [(int(one), int(two), float(value)) for (one, two), value in zip(pairs[chosen], values, strict=True)]


def _climbed(
    levels: Sequence[NDArray[np.float16]],
    pairs: NDArray[np.intp],
    crops: Floats,
    stages: Sequence[Stage],
    threshold: float,
) -> tuple[NDArray[np.intp], Floats]:
    """Which of the pairs no stage drops, and their correlation in the last one."""
    left, correlation = np.arange(len(pairs)), np.zeros(len(pairs), dtype=np.float32)
    for stage in stages:
        if not len(left):
            break
        still, moving = (levels[stage.level][pairs[left, side]].astype(np.float32) for side in (1, 0))
        crops, correlation = align(still, moving, crops, stage.steps, stage.reach, stage.settled)
        kept = correlation >= threshold - stage.margin
        left, crops, correlation = left[kept], crops[kept], correlation[kept]
    return left, correlation


def _candidates(coarse: Floats, per_image: int, bar: Bar) -> tuple[NDArray[np.intp], Floats]:
    """(P, 2) pairs, each once, and (P, 4) crops: the second image looks like that part of the first."""
    mixing = _whitening(_features(coarse, _CROPS[0]))
    whole = _unit_rows(_features(coarse, _CROPS[0]) @ mixing)
    rows: list[tuple[float, int, int, int]] = []
    for at in bar(range(0, len(coarse), ROWS)):
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
