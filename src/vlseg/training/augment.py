"""Light augmentation of an image together with its masks and prompts."""

from collections.abc import Sequence

import numpy as np

from vlseg.prompts import mirrored, names_a_place

INTENSITY_PROBABILITY = 0.5
SYMMETRY_PROBABILITY = 0.5


def augment(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    texts: Sequence[str],
    symmetries: frozenset[str],
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """One random variant.

    Brightness, contrast and gamma change a little. A mirror image or a quarter turn happens only where
    the dataset allows that symmetry and every location word of every prompt can be rewritten.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        masks: (H, W) bool each.
        texts: one prompt per mask.
        symmetries: allowed ones of "horizontal", "vertical", "rotation".
        rng: the only source of chance.
    """
    if rng.random() < INTENSITY_PROBABILITY:
        image = _intensity(image, rng)
    truths, words = list(masks), list(texts)
    for axis, numpy_axis in (("horizontal", 1), ("vertical", 0)):
        if axis in symmetries and rng.random() < SYMMETRY_PROBABILITY:
            rewritten = [mirrored(text, axis) for text in words]
            kept = [text for text in rewritten if text is not None]
            if len(kept) == len(words):
                image = np.flip(image, numpy_axis)
                truths = [np.flip(mask, numpy_axis) for mask in truths]
                words = kept
    if "rotation" in symmetries and not any(names_a_place(text) for text in words):
        turns = int(rng.integers(4))
        image, truths = np.rot90(image, turns), [np.rot90(mask, turns) for mask in truths]
    return image, truths, words


def _intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gamma = np.float32(rng.uniform(0.9, 1.1))
    contrast = np.float32(rng.uniform(0.9, 1.1))
    brightness = np.float32(rng.uniform(-0.05, 0.05))
    changed: np.ndarray = np.clip((image**gamma - 0.5) * contrast + 0.5 + brightness, 0, 1).astype(np.float32)
    return changed
