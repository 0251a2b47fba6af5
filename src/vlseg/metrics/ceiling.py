"""Two ceilings: the best mean Dice without the prompt, and with no more of it than the target's class.

A model that is told nothing gives one mask per image; one that is told the class gives one mask per image and class.
Both have an exact maximum. What lies above the first shows that the class was told or read; only what lies above the
second shows that the other words were read.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

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


@dataclass(frozen=True)
class Asked:
    """One truth and what names it.

    Attributes:
        image: the image's key.
        target: the class that a channel or an embedding would be told; None = unknown.
        words: the wordings of its prompt.
        mask: (H, W) bool.
    """

    image: Hashable
    target: str | None
    words: frozenset[str]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Ceilings:
    """In [0, 1]; `text_blind`: one mask per image; `by_class`: one mask per image and class; None: see `reason`."""

    text_blind: float | None
    by_class: float | None
    reason: str | None = None


NO_CHOICE = "no image has two truths under different words"
CLASS_TELLS_ALL = "no image has two truths of one class under different words: the class alone tells them apart"
CLASS_UNKNOWN = "samples without a target"


def ceilings(asked: Sequence[Asked]) -> Ceilings:
    """Both ceilings over the same truths, each exact.

    There is none where words could not help either: two truths of one image that are named alike (two readers of one
    structure) are no choice between things.
    """
    if not _choice(asked, lambda one: one.image):
        return Ceilings(None, None, NO_CHOICE)
    text_blind = text_blind_ceiling(_stacks(asked, lambda one: one.image))
    if any(one.target is None for one in asked):
        return Ceilings(text_blind, None, CLASS_UNKNOWN)
    if not _choice(asked, lambda one: (one.image, one.target)):
        return Ceilings(text_blind, None, CLASS_TELLS_ALL)
    return Ceilings(text_blind, text_blind_ceiling(_stacks(asked, lambda one: (one.image, one.target))))


def _stacks(asked: Sequence[Asked], key: Callable[[Asked], Hashable]) -> list[NDArray[np.bool_]]:
    """The truths of each key together, (K, H, W)."""
    return [np.stack([one.mask for one in together]) for together in _by(asked, key)]


def _by(asked: Iterable[Asked], key: Callable[[Asked], Hashable]) -> Iterable[list[Asked]]:
    found: defaultdict[Hashable, list[Asked]] = defaultdict(list)
    for one in asked:
        found[key(one)].append(one)
    return found.values()


def _choice(asked: Sequence[Asked], key: Callable[[Asked], Hashable]) -> bool:
    """Whether some key has two truths, neither empty, that differ and are named by different words or classes."""
    return any(
        (one.target, one.words) != (other.target, other.words) and (one.mask != other.mask).any()
        for together in _by((one for one in asked if one.mask.any()), key)
        for one, other in combinations(together, 2)
    )


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
