"""The text-blind ceiling: the best mean Dice of any mask that does not see the prompt.

A model that ignores the prompt gives one mask per image. Its mean Dice over that image's truths has an
exact maximum, which a model has to beat before its words can be said to matter.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

AREAS_AT_ONCE = 1 << 15
"""Mask areas scored in one go; bounds memory on large images."""


def best_text_blind_mask(masks: NDArray[np.bool_]) -> tuple[float, dict[tuple[bool, ...], int]]:
    """The best mean Dice of one mask against several truths of the same image, exactly.

    Pixels that belong to the same truths are alike, and form an atom. For a fixed area s of the mask M
    the sum over truths T of 2|M & T| / (s + |T|) is linear in the pixels taken from each atom, so taking
    the atoms of largest weight first is optimal; every s up to the union's area is tried.

    Args:
        masks: (K, H, W), the K truths of one image; empty ones are left out of the mean.

    Returns:
        The mean Dice in [0, 1] over the non-empty truths (0.0 when all are empty), and the number of
        pixels to take from each atom, keyed by which of the K truths it belongs to.
    """
    flat = masks.reshape(len(masks), -1)
    present = flat.any(axis=1)
    columns = flat[:, flat.any(axis=0)].T
    if not present.any():
        return 0.0, {}
    atoms, sizes = np.unique(columns, axis=0, return_counts=True)
    areas = flat.sum(axis=1)
    best, best_area, total = -1.0, 0, int(sizes.sum())
    for start in range(1, total + 1, AREAS_AT_ONCE):
        scores = _best_sums(atoms, sizes, areas, np.arange(start, min(start + AREAS_AT_ONCE, total + 1)))[0]
        if scores.max() > best:
            best, best_area = float(scores.max()), start + int(scores.argmax())
    taken = _best_sums(atoms, sizes, areas, np.array([best_area]))[1][0]
    counts = {tuple(bool(bit) for bit in atom): int(n) for atom, n in zip(atoms, taken, strict=True)}
    return best / int(present.sum()), counts


def text_blind_ceiling(images: Iterable[NDArray[np.bool_]]) -> float | None:
    """The ceiling of a dataset: best Dice summed over all non-empty truths, divided by their number.

    Args:
        images: per image the truths of all its entries, (K_i, H_i, W_i).

    Returns:
        A value in [0, 1], or None when no entry has a non-empty truth.
    """
    total, number = 0.0, 0
    for masks in images:
        here = int(masks.any(axis=(1, 2)).sum())
        total += best_text_blind_mask(masks)[0] * here
        number += here
    return total / number if number else None


def _best_sums(
    atoms: NDArray[np.bool_], sizes: NDArray[np.int64], areas: NDArray[np.int64], s: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each mask area s (S,): the largest sum of Dice (S,) and the pixels taken per atom (S, atoms)."""
    weights = (2.0 / (s[:, None] + areas[None, :])) @ atoms.T.astype(np.float64)
    order = np.argsort(-weights, axis=1, kind="stable")
    ordered = sizes[order]
    before = np.cumsum(ordered, axis=1) - ordered
    taken_ordered = np.clip(s[:, None] - before, 0, ordered)
    taken = np.zeros_like(taken_ordered)
    np.put_along_axis(taken, order, taken_ordered, axis=1)
    return (weights * taken).sum(axis=1), taken
